"""What must hold before a run starts, beyond the recipe itself: files, weights, a folder that can be written.

All problems are reported at once, before anything slow.
"""

import os
from dataclasses import replace
from math import isclose
from pathlib import Path

import timm
import torch

from epicsub.data.annotations import Segment, read_ids
from epicsub.data.decode.reader import choose_decoder
from epicsub.data.features.store import made_by_digest
from epicsub.data.prepared import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.errors import DataError, EpicsubError, ModelError, TrainingError
from epicsub.io import atomic_write, sha256, user_path
from epicsub.modality import MODALITIES, with_files
from epicsub.models.table import WEIGHTS
from epicsub.models.weights import find_backbone_weights, find_weights
from epicsub.progress import process_number
from epicsub.recipe import LoadedRecipe, Recipe, TemporalRelationsModel
from epicsub.recipe.model import FeatureModelSection
from epicsub.text import join_problems
from epicsub.training.boxes import box_problems
from epicsub.training.build import model_of
from epicsub.training.device import find_device, lacks
from epicsub.training.distill import load_teacher, with_teacher_modalities
from epicsub.training.epochs import count_epochs, epoch_problems
from epicsub.training.loaders import Domains, features_of, source_segments, store_of, target_segments
from epicsub.training.mps import has_bfloat16, why_not
from epicsub.training.order_items import with_gaps
from epicsub.training.preflight_pretext import pretext_problems
from epicsub.training.provenance import read_provenance
from epicsub.training.start import start_problems


def prepare(loaded: LoadedRecipe, root: DataRoot, folder: Path, writes: bool = True) -> Domains:
    """Read the lists and check everything that a run needs from the disk.

    Args:
        loaded: the recipe.
        root: the data root.
        folder: the run's.
        writes: False for what writes nothing: then not even the folder is made to see if it can be.

    Returns:
        The segments and the teacher.

    Raises:
        TrainingError: naming all problems at once.
    """
    recipe, problems = loaded.recipe, _device_problems(loaded, writes)
    problems += _folder_problems(folder) if writes and process_number() == 0 else _place_problems(folder)
    problems += _weight_problems(loaded)
    problems += _model_problems(loaded)
    problems += _precision_problems(loaded)
    problems += _outlier_problems(loaded)
    try:
        choose_decoder(recipe.data.decoder)
    except DataError as error:
        problems.append(f"{loaded.where('data.decoder')}  data.decoder: {error}")
    source, target = [], []
    try:
        if recipe.pretext is None:
            source = source_segments(recipe, root)
        target = target_segments(recipe, root)
    except EpicsubError as error:
        problems.append(str(error))
    teacher = None
    try:
        teacher = load_teacher(recipe, source)
    except EpicsubError as error:
        problems.append(f"{loaded.where('train.distillation.teacher')}  {error}")
    read = with_teacher_modalities(with_gaps(recipe), teacher)
    segments = [*source, *(segment for part in target for segment in part)]
    store = None
    try:
        store = store_of(read, root, segments)
        problems += missing_files(read, root, segments, store)
    except DataError as error:
        problems.append(str(error))
    problems += _feature_problems(loaded, root)
    problems += pretext_problems(loaded, target)
    if source:
        problems += _length_and_start_problems(loaded, len(source))
        problems += _batch_problems(loaded, len(source), [len(part) for part in target])
    if problems or store is None:
        raise TrainingError(join_problems(problems, "nothing was started"))
    names = [*recipe.data.source, *recipe.data.target]
    lists = {name: sha256(root.annotations(name)) for name in names}
    for place in dict.fromkeys((recipe.data.features or {}).values()):
        lists[place] = made_by_digest(root.path / user_path(place))
    if teacher:
        lists[str(teacher.path)] = sha256(teacher.path)
    if recipe.train.start:
        lists[recipe.train.start] = sha256(user_path(recipe.train.start))
    return Domains(root=root, source=source, target=target, store=store, lists=lists, teacher=teacher)


def missing_files(recipe: Recipe, root: DataRoot, segments: list[Segment], store: StoreChoice) -> list[str]:
    """List videos that lack a modality, or modalities that lack features, and what to do about it.

    Args:
        recipe: says what is read.
        root: the data root.
        segments: all of the run.
        store: the run's choice.

    Returns:
        A line each.
    """
    if recipe.data.features:
        try:
            tables = features_of(recipe, root)
        except DataError as error:
            return str(error).splitlines()
        missing = {name: table.lacking(s.narration_id for s in segments) for name, table in tables.items()}
        return [tables[name].lacks(ids) for name, ids in missing.items() if ids]
    lines = root.missing(segments, [name for name in with_files(recipe.data.modalities) if name not in store.prepared])
    rows = [MODALITIES[name] for name in with_files(recipe.data.modalities)]
    for row in sorted(rows, key=lambda row: not row.command):
        if any(f": no {row.name} for" in line for line in lines):
            advice = "fetch the videos, or leave them out: `epicsub data check --write-skip FILE`, then data.skip=FILE"
            if row.command:
                advice = f"{row.name} is computed by `{row.command} --data {root.path}`"
            lines[-1] += f"\n{advice}"
    return [*lines, *box_problems(recipe, root, segments)]


def _feature_problems(loaded: LoadedRecipe, root: DataRoot) -> list[str]:
    """Features of another length than the recipe's, or with too few times for relations between them."""
    model = loaded.recipe.model
    if not isinstance(model, FeatureModelSection):
        return []
    try:
        tables = features_of(loaded.recipe, root)
    except DataError:
        return []  # reported by `missing_files`
    problems = [
        f"{loaded.where(f'model.dims.{name}')}  model.dims.{name}: is {dim}, but the features in {tables[name].place} "
        f"have {tables[name].dim} entries, write that"
        for name, dim in model.dims.items()
        if tables[name].dim != dim
    ]
    if isinstance(model, TemporalRelationsModel):
        problems += [
            f"{loaded.where('model.segments')}  model.segments: is {model.segments}, but the {name} features in "
            f"{table.place} have {table.times or 'no'} times per segment: make them with --tta {model.segments}x1"
            for name, table in tables.items()
            if (table.times or 0) < model.segments
        ]
    return problems


def _length_and_start_problems(loaded: LoadedRecipe, segments: int) -> list[str]:
    """Epochs whose steps do not fit the recipe, or else a start that is no end of its first stage."""
    if problems := epoch_problems(loaded.recipe, segments):
        return [f"{loaded.where(problem.partition(':')[0])}  {problem}" for problem in problems]
    return start_problems(replace(loaded, recipe=count_epochs(loaded.recipe, segments)))


def _folder_problems(folder: Path) -> list[str]:
    """Check by writing that the run's folder can be written."""
    try:
        with atomic_write(folder / "writable"):
            pass
        (folder / "writable").unlink(missing_ok=True)
    except OSError as error:
        return [f"{folder}: cannot be written ({error.strerror}); choose another folder with --out"]
    return []


def _device_problems(loaded: LoadedRecipe, trains: bool) -> list[str]:
    """Devices that this machine lacks."""
    name, asked = loaded.recipe.train.accelerator, loaded.recipe.train.devices
    devices = asked if trains and asked != "auto" else 1
    if problem := lacks(name, devices):
        key = "train.devices" if devices > 1 and lacks(name, 1) is None else "train.accelerator"
        return [f"{loaded.where(key)}  {key}: is {getattr(loaded.recipe.train, key[6:])}, but {problem}"]
    return []


def _outlier_problems(loaded: LoadedRecipe) -> list[str]:
    """The oracle's list of planted outliers, where it cannot be read."""
    if loaded.recipe.adaptation.method != "oracle":
        return []
    try:
        read_ids(user_path(loaded.recipe.adaptation.outliers), "narration_id")
    except DataError as error:
        return [f"{loaded.where('adaptation.outliers')}  adaptation.outliers: {error}"]
    return []


def _place_problems(folder: Path) -> list[str]:
    """Check without writing that the run's folder could be written."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return []
    return [f"{folder}: {there} cannot be written; choose another folder with --out"]


def _weight_problems(loaded: LoadedRecipe) -> list[str]:
    """Published weights that the recipe names and nobody has."""
    weights = getattr(loaded.recipe.model, "weights", {})
    named = weights if isinstance(weights, dict) else {"": weights}
    problems = []
    for modality, name in named.items():
        key = f"model.weights.{modality}".rstrip(".")
        try:
            if name == "timm":
                _find_timm_weights(loaded.recipe.model.backbone)  # type: ignore[union-attr]
            elif name is not None:
                read_provenance(find_weights(name))
        except EpicsubError as error:
            problems.append(f"{loaded.where(key)}  {key}: {error}")
    return problems


def clip_notes(recipe: Recipe) -> list[str]:
    """List published files that were trained on other clips than the recipe cuts.

    Any stride is taken, but a network knows motion at the pace at which it was trained.

    Args:
        recipe: the resolved recipe.

    Returns:
        A line for each.
    """
    weights, data = getattr(recipe.model, "weights", None), recipe.data
    notes = []
    for modality, name in weights.items() if isinstance(weights, dict) else ():
        clip = WEIGHTS[name].clip if name in WEIGHTS else None
        if clip is not None:
            frames, apart = clip
            if data.frames != frames or data.stride is None or not isclose(data.stride, apart, rel_tol=0.01):
                own = "spread over the segment" if data.stride is None else f"{data.stride:.3f} s apart"
                trained = f"{name} was trained on {frames} frames {apart:.3f} s apart"
                notes.append(f"model.weights.{modality}: {trained}, this recipe cuts {data.frames}, {own}")
    return notes


def _model_problems(loaded: LoadedRecipe) -> list[str]:
    """Check that the network can be built for these clips; without memory or weights, so a second at the most."""
    train = loaded.recipe.train
    heads = train.model_copy(update={"losses": train.losses.model_copy(update={"action": None})})  # needs the lists
    try:
        with torch.device("meta"):
            model = model_of(loaded.recipe.model_copy(update={"train": heads}), weights=False)
    except ModelError as error:
        return [f"{loaded.where('model')}  model: {error}"]
    if lacks(train.accelerator, 1) is None and find_device(train.accelerator).type == "mps":
        missing = why_not(lambda: model, loaded.recipe, backward=True)
        return [f"{loaded.where('train.accelerator')}  train.accelerator: {missing}"] if missing else []
    return []


def _precision_problems(loaded: LoadedRecipe) -> list[str]:
    """bf16-mixed where a device has none, 16-mixed where `auto` finds a CPU alone, which would make it bf16-mixed."""
    train = loaded.recipe.train
    if train.precision == "bf16-mixed" and lacks(train.accelerator, 1) is None:
        device = find_device(train.accelerator)
        if not has_bfloat16(device):
            return [
                f"{loaded.where('train.precision')}  train.precision: is bf16-mixed, which this {device.type} device "
                "has not: write 16-mixed or 32-true"
            ]
    found = torch.cuda.is_available() or torch.backends.mps.is_available()
    if train.precision != "16-mixed" or train.accelerator != "auto" or found:
        return []
    return [
        f"{loaded.where('train.precision')}  train.precision: is 16-mixed, but train.accelerator auto finds a cpu "
        "alone here: write bf16-mixed or 32-true, or run it where there is a GPU (`epicsub doctor`)"
    ]


def _find_timm_weights(backbone: str) -> Path:
    """The file of a backbone's published weights, found without building the backbone.

    Raises:
        ModelError: timm has no such backbone or no such tag, or the file is nowhere.
    """
    try:
        published = timm.get_pretrained_cfg(backbone)
    except RuntimeError as error:
        raise ModelError(f"backbone {backbone!r}: timm has no such tag; `timm.list_pretrained()` lists all") from error
    if published is None:
        raise ModelError(f"backbone {backbone!r}: timm has no such model; `timm.list_models()` lists all")
    return find_backbone_weights(backbone, published.to_dict())


def _batch_problems(loaded: LoadedRecipe, source: int, target: list[int]) -> list[str]:
    """Batches larger than what they are drawn from."""
    problems = []
    for index, stage in enumerate(loaded.recipe.train.stages):
        batches = {"source_batch": (stage.source_batch, source), "target_batch": (stage.target_batch, sum(target))}
        for key, (batch, segments) in batches.items():
            where = f"train.stages.{index}.{key}"
            if batch > segments:
                problems.append(
                    f"{loaded.where(where)}  {where}: {batch} clips per step, but the lists have {segments}"
                )
            sets = loaded.recipe.adaptation.candidates if loaded.recipe.adaptation.method == "mmir" else 1
            if batch and stage.target_batch and batch % sets:
                problems.append(
                    f"{loaded.where(where)}  {where}: {batch} clips per step do not fill candidate sets of {sets}: "
                    f"make it a multiple of {sets}"
                )
            if 0 < batch < loaded.recipe.train.processes:
                problems.append(
                    f"{loaded.where(where)}  {where}: {batch} clips per step are fewer than the "
                    f"{loaded.recipe.train.processes} processes (train.nodes x train.devices): make it larger, or ask "
                    "for fewer"
                )
    return problems
