"""Training from a recipe, and trials before it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from epicsub.api import data_root
from epicsub.api.label_free import read_lists
from epicsub.data.annotations import Segment
from epicsub.data.sampling import parse_views
from epicsub.errors import ModelError, TrainingError
from epicsub.inference.notes import upper_bound_note
from epicsub.inference.predict import gather_predictions, predict
from epicsub.io import user_path, write_text
from epicsub.modality import RGB
from epicsub.models.published import load_action_model
from epicsub.predictions import Predictions
from epicsub.progress import process_number
from epicsub.recipe import LoadedRecipe, Recipe, load_recipe
from epicsub.text import first_of
from epicsub.training.boxes import coverage_notes
from epicsub.training.build import model_of, scaled_rate_notes
from epicsub.training.checkpoint import Checkpoint, checkpoint_to_resume, save_checkpoint
from epicsub.training.dry_run import dry_run
from epicsub.training.epochs import count_epochs, epoch_notes
from epicsub.training.find import find_batch, find_rate
from epicsub.training.loaders import Domains, reading_notes, skipped_ids, store_of, view_loader
from epicsub.training.loop import Evaluate, fit
from epicsub.training.preflight import clip_notes, prepare
from epicsub.training.processes import join_processes, with_processes
from epicsub.training.run_folder import run_lock
from epicsub.training.selection import EvaluationResult
from epicsub.training.state import total_steps
from epicsub.validation import Protocol, load_protocol, read_reference

OUTPUTS = Path("outputs")
Overrides = Sequence[str]
TrialName = Literal["dry_run", "find_lr", "find_batch"]
TRIALS: dict[TrialName, Callable[[Recipe, Domains], Iterator[str]]] = {
    "dry_run": dry_run,
    "find_lr": find_rate,
    "find_batch": find_batch,
}
log = logging.getLogger(__name__)


def train(
    recipe: str | Path,
    overrides: Overrides = (),
    *,
    out: str | Path | None = None,
    data: str | Path | None = None,
    resume: bool = True,
) -> Path:
    """Train a recipe; a killed run goes on when it is trained again.

    Args:
        recipe: name or path.
        overrides: settings to change, `KEY=VALUE`.
        out: the run's folder; outputs/ and the recipe's name by default.
        data: data root; by default the recipe's, else $EPICSUB_DATA, else data/.
        resume: go on from the folder's last checkpoint, if there is one.

    Returns:
        The checkpoint that the recipe selects, in the run's folder.

    Raises:
        RecipeError: the recipe or an override is not valid.
        TrainingError: something that the run needs is missing, or the folder holds a run of other settings; all at
            once, before anything starts. Or a loss is not finite (NotFiniteError).
        DataError: a clip cannot be read.
    """
    loaded, folder, domains = _prepare(recipe, overrides, out, data, writes=True)
    evaluate = _evaluator(loaded.recipe, domains)
    with run_lock(folder):
        checkpoint = checkpoint_to_resume(loaded.recipe, domains.lists, folder) if resume else None
        if checkpoint:
            total = total_steps(loaded.recipe)
            log.info("resuming from step %d of %d (%s)", checkpoint.step, total, folder / "last.pth")
        if process_number() == 0:
            write_text(folder / "recipe.yaml", loaded.to_yaml())
        return fit(loaded.recipe, domains, folder, evaluate, checkpoint)


def run_trials(
    recipe: str | Path,
    overrides: Overrides = (),
    *,
    trials: Sequence[TrialName] = ("dry_run",),
    out: str | Path | None = None,
    data: str | Path | None = None,
) -> Iterator[str]:
    """Try a recipe without training it; nothing is written.

    Args:
        recipe: as `train`, like `overrides`, `out` and `data`.
        overrides: settings to change.
        trials: in this order: dry_run estimates parameters, memory and hours of the run; find_lr trains at rising
            learning rates and proposes one; find_batch takes steps with larger and larger batches until the memory
            is full.
        out: the run's folder, which only must be writable.
        data: data root.

    Returns:
        Lines, each as soon as it is known.

    Raises:
        TrainingError: something that the run needs is missing; while iterating: a step does not fit into the device's
            memory, or the first losses are not finite.
    """
    loaded, _, domains = _prepare(recipe, overrides, out, data, writes=False)
    return chain.from_iterable(TRIALS[name](loaded.recipe, domains) for name in trials)


def adopt(
    checkpoint: str | Path, recipe: str | Path, overrides: Overrides = (), *, out: str | Path | None = None
) -> Path:
    """Convert a checkpoint of the group's first model into a run, so that validate, predict and submit read it.

    Args:
        checkpoint: a .pth of ActionModel (ResNet-50 and a bidirectional LSTM).
        recipe: name or path; says how its clips are cut, e.g. resnet_bilstm.
        overrides: settings to change, `KEY=VALUE`.
        out: the run's folder; outputs/ and the recipe's name by default.

    Returns:
        The run's folder.

    Raises:
        ModelError: the folder holds a run, the recipe is of another model, or the checkpoint does not fit.
    """
    loaded, path = load_recipe(recipe, overrides), user_path(checkpoint)
    folder = user_path(out) if out else OUTPUTS / loaded.recipe.name
    if (folder / "last.pth").exists():
        raise ModelError(f"{folder}: holds a run already; choose another folder with --out")
    if loaded.recipe.model.name != "frame_lstm" or loaded.recipe.data.modalities != (RGB.name,):
        raise ModelError(f"{loaded.where('model.name')}  model.name: ActionModel is a frame_lstm of rgb alone")
    model = model_of(loaded.recipe, weights=False)
    load_action_model(model, path)
    steps, origin = total_steps(loaded.recipe), f"converted from {path.name}"
    converted = Checkpoint(
        recipe=loaded.recipe.model_dump(mode="json") | {"description": origin},
        seed=loaded.recipe.seed,
        step=steps,
        steps=steps,
        lists={},
        scores={},
        model=model.state_dict(),
        commit=origin,
    )
    for name in ("last.pth", "best.pth"):
        save_checkpoint(folder / name, converted)
    write_text(folder / "recipe.yaml", loaded.to_yaml())
    return folder


def _prepare(
    recipe: str | Path, overrides: Overrides, out: str | Path | None, data: str | Path | None, writes: bool
) -> tuple[LoadedRecipe, Path, Domains]:
    """Check all that a run needs, and log what is worth knowing before it starts."""
    loaded = load_recipe(recipe, overrides)
    if loaded.recipe.pretext is not None:
        raise TrainingError(
            f"{loaded.where('pretext')}  pretext: this recipe pre-trains without labels: run `epicsub pretrain "
            f"{recipe}`, and train another recipe from the weights that it writes"
        )
    if writes:
        loaded = with_processes(loaded, join_processes(loaded.recipe.train))
    folder = user_path(out) if out else OUTPUTS / loaded.recipe.name
    domains = prepare(loaded, data_root(data, loaded.recipe.data.root), folder, writes)
    for note in _notes(loaded.recipe, domains):
        log.info(note)
    return replace(loaded, recipe=count_epochs(loaded.recipe, len(domains.source))), folder, domains


def _notes(recipe: Recipe, domains: Domains) -> Iterator[str]:
    targets = ", ".join(map(str, map(len, domains.target))) or "no"
    yield f"{recipe.name}: {len(domains.source)} labelled source segments, {targets} unlabelled target segments"
    yield from reading_notes(recipe, domains.root, [*domains.source, *domains.target_segments], domains.store)
    targets_by_name = dict(zip(recipe.data.target, domains.target, strict=True))
    yield from coverage_notes(recipe, domains.root, {", ".join(recipe.data.source): domains.source} | targets_by_name)
    if recipe.adaptation.method == "supervised":
        yield upper_bound_note(recipe.data.source)
    if recipe.data.skip:
        yield f"{len(skipped_ids(recipe))} segments are named in {recipe.data.skip} and left out"
    yield from clip_notes(recipe)
    yield from epoch_notes(recipe, len(domains.source))
    yield from scaled_rate_notes(recipe)


def _evaluator(recipe: Recipe, domains: Domains) -> Evaluate | None:
    """Periodic validation, by the code of `validate`."""
    if recipe.train.evaluate_every is None and recipe.train.mean_of_last is None:
        return None
    protocol = load_protocol(Path(recipe.evaluation.protocol))
    root, skipped, select = domains.root, skipped_ids(recipe), recipe.train.select
    if recipe.evaluation.held_out is not None:
        return _label_free_evaluator(recipe, domains, protocol, recipe.evaluation.held_out)
    segments = [s for s in root.segments(protocol.validation.list) if s.narration_id not in skipped]
    predicts = _predictor(recipe, domains, segments, "validation")
    reference = None

    def evaluate(model: nn.Module) -> EvaluationResult:
        nonlocal reference
        predictions = predicts(model)
        if reference is None:  # read when first needed: the labels' file may be missing in a run that never evaluates
            reference = read_reference(protocol, root.path / "annotations")
        hits_S = None if select == "last" else torch.from_numpy(reference.counted_hits(predictions, select))
        return EvaluationResult(scores=reference.evaluate(predictions).scores, hits_S=hits_S)

    return evaluate


def _label_free_evaluator(recipe: Recipe, domains: Domains, protocol: Protocol, held_out: str) -> Evaluate:
    """Periodic scores that read no label of the validation list."""
    skip = user_path(recipe.data.skip) if recipe.data.skip else None
    lists = read_lists(protocol, held_out, domains.root, skip)
    if learned := {s.narration_id for s in lists.held_out} & {s.narration_id for s in domains.source}:
        raise TrainingError(
            f"evaluation.held_out: {len(learned)} of the {len(lists.held_out)} segments of {held_out} are trained on "
            f"({', '.join(recipe.data.source)}): {first_of(sorted(learned))}; name a list of others"
        )
    parts = [
        _predictor(recipe, domains, segments, name)
        for name, segments in (("validation", lists.target), ("held-out source", lists.held_out))
    ]

    def evaluate(model: nn.Module) -> EvaluationResult:
        found = lists.score(*(predicts(model) for predicts in parts)).scores
        return EvaluationResult(
            scores={
                "label_free_entropy": found["ENT"],
                "label_free_prior": found["PRIOR"],
                "held_out_accuracy": found["SRC"],
            }
        )

    return evaluate


def _predictor(
    recipe: Recipe, domains: Domains, segments: Sequence[Segment], name: str
) -> Callable[[nn.Module], Predictions]:
    """What predicts a list in its order; several processes share the list among them."""
    store = store_of(recipe, domains.root, segments, domains.store.indexes)
    ids, ranks = [segment.narration_id for segment in segments], recipe.train.processes
    rank, views = process_number() if ranks > 1 else 0, parse_views(recipe.evaluation.views)
    loader = view_loader(recipe, domains.root, segments, views, store, rank=rank, ranks=ranks)

    def predicts(model: nn.Module) -> Predictions:
        own = predict(model, loader, len(loader), next(model.parameters()).device, name) if len(loader) else None
        return gather_predictions(own, ids)

    return predicts
