"""What `validate`, `predict` and `submit` are pointed at: a checkpoint, a run, or a file of predictions."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.prepared.choice import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.errors import EpicsubError, InferenceError, PredictionsError
from epicsub.inference.cache import Made, cache_file, find, keep, key_of
from epicsub.inference.predict import predict
from epicsub.inference.stopping import Place, predict_until_decided
from epicsub.models.heads import PAIRS_NAME
from epicsub.predictions import Predictions, load_predictions
from epicsub.recipe import Recipe, recipe_from_dict
from epicsub.text import join_problems
from epicsub.training.build import ViewLoader, model_of, reading_notes, store_of, view_loader
from epicsub.training.checkpoint import Checkpoint, load_checkpoint
from epicsub.training.loop import chosen_file
from epicsub.training.preflight import missing_files

PREDICTION_SUFFIXES = (".npz", ".pt", ".pkl")


@dataclass(frozen=True)
class Target:
    """One thing to predict with or to read predictions from."""

    name: str
    path: Path
    kind: Literal["checkpoint", "predictions"]
    also: tuple[Path, ...] = ()
    """further files of predictions, of other segments"""


def resolve_target(text: str, outputs: Path = Path("outputs")) -> Target:
    """Find what a word of the command line means.

    Args:
        text: a `.pth` file, a run's folder, a run's name under `outputs`, a file of predictions, or several of the
            latter with commas between, which hold different segments.
        outputs: folder of runs.

    Raises:
        InferenceError: nothing fits; the message names the places looked at and the runs there are.
    """
    for path in (Path(text), outputs / text):
        if path.is_dir():
            return Target(path.name, run_checkpoint(path), "checkpoint")
        if path.is_file():
            suffix = path.suffix.lower()
            if suffix == ".pth":
                return Target(path.parent.name if path.stem in ("last", "best") else path.stem, path, "checkpoint")
            if suffix in PREDICTION_SUFFIXES:
                return Target(path.stem, path, "predictions")
            raise InferenceError(
                f"{path}: neither a checkpoint (.pth) nor predictions ({', '.join(PREDICTION_SUFFIXES)})"
            )
    if "," in text and all(Path(part).suffix.lower() in PREDICTION_SUFFIXES for part in text.split(",")):
        parts = [resolve_target(part, outputs) for part in text.split(",")]
        return replace(parts[-1], also=tuple(part.path for part in parts[:-1]))
    runs = sorted(folder.name for folder in outputs.glob("*") if (folder / "last.pth").is_file())
    raise InferenceError(
        f"{text}: no such file, and no run of that name in {outputs}/ "
        f"(there: {', '.join(runs) if runs else 'no runs yet; `epicsub train RECIPE` makes one'})"
    )


def resolve_targets(texts: list[str], outputs: Path = Path("outputs")) -> list[Target]:
    """Find several targets; those that would share a name are called by their paths.

    Raises:
        InferenceError: every word that fits nothing, all at once; or the same file twice.
    """
    found: list[Target] = []
    problems: list[str] = []
    for text in texts:
        try:
            found.append(resolve_target(text, outputs))
        except EpicsubError as error:
            problems.append(str(error))
    paths = [target.path.resolve() for target in found]
    problems += [f"{path}: named {paths.count(path)} times" for path in dict.fromkeys(paths) if paths.count(path) > 1]
    if problems:
        raise InferenceError("\n".join(problems))
    names = [target.name for target in found]
    return [replace(t, name=str(t.path)) if names.count(t.name) > 1 else t for t in found]


def run_checkpoint(folder: Path) -> Path:
    """The checkpoint that stands for a run: the last or the best one, as its recipe says."""
    last = folder / "last.pth"
    if not last.is_file():
        raise InferenceError(f"{folder}: holds no run (no last.pth); name a folder that `epicsub train` wrote")
    return folder / chosen_file(recipe_from_dict(load_checkpoint(last).recipe, str(last)))


@dataclass(frozen=True)
class Trained:
    """A model with its weights, and the recipe that says how its clips are cut."""

    model: nn.Module
    recipe: Recipe
    checkpoint: Checkpoint


def load_trained(path: Path, device: torch.device) -> Trained:
    """Rebuild the model of a checkpoint with exactly its weights.

    Raises:
        InferenceError: weights are missing or left over.
    """
    checkpoint = load_checkpoint(path)
    recipe = recipe_from_dict(checkpoint.recipe, str(path))
    model = model_of(recipe, weights=False, actions=checkpoint.model.get(PAIRS_NAME))
    missing, unexpected = model.load_state_dict(checkpoint.model, strict=False)
    if missing or unexpected:
        raise InferenceError(
            f"{path}: does not fit its own recipe's model: missing {missing[:5]}, unexpected {unexpected[:5]}"
        )
    return Trained(model.to(device), recipe, checkpoint)


def predictions_of(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, stop: int = 0
) -> Predictions:
    """Predictions of a target for a list of segments; a file's are read, a checkpoint's are made or found again.

    Args:
        target: what to predict with.
        segments: the list, in its order.
        root: where the videos lie.
        views: views a segment, or None for the recipe's own; a file of predictions has had its views.
        device: where to run.
        stop: leave out views that cannot change the order of a segment's so many best classes; 0 takes all.
    """
    if target.kind == "predictions":
        return joined([load_predictions(path) for path in (target.path, *target.also)], target.name)
    return predict_checkpoint(target, segments, root, views, device, stop).predictions


def joined(parts: Sequence[Predictions], name: str) -> Predictions:
    """Predictions of different segments as one.

    Raises:
        InferenceError: segments that several parts have.
    """
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((part.narration_ids, part.verb_logprobs, part.noun_logprobs) for part in parts), strict=True)
    try:
        return Predictions(*(np.concatenate(column) for column in columns))
    except PredictionsError as error:
        raise InferenceError(f"{name}: its files do not fit together: {error}") from error


def predict_checkpoint(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, stop: int = 0
) -> Made:
    """Predictions of a checkpoint and their cost, made once and kept beside it (see cache.py); as `predictions_of`."""
    recipe = recipe_from_dict(load_checkpoint(target.path).recipe, str(target.path))
    chosen = views or parse_views(recipe.evaluation.views)
    store = store_of(recipe, root, segments)
    key = key_of(target.path, recipe, segments, root, store.prepared, chosen, stop, device)
    file = cache_file(target.path, key)
    if (made := find(file, key)) is not None:
        print(
            f"{target.name} ({chosen}): {len(segments)} predictions taken from {file}, made in {made.seconds:.1f} s",
            file=sys.stderr,
        )
        return replace(made, predictions=made.predictions.select([segment.narration_id for segment in segments]))
    missing = missing_files(recipe, root, segments, store)
    if missing:
        raise InferenceError(join_problems(missing, "nothing was predicted"))
    for note in reading_notes(recipe, root, segments, store):
        print(note, file=sys.stderr)
    made = _predict(target, segments, root, store, chosen, device, stop)
    keep(file, key, made)
    return made


def _predict(
    target: Target,
    segments: list[Segment],
    root: DataRoot,
    store: StoreChoice,
    views: Views,
    device: torch.device,
    stop: int,
) -> Made:
    trained = load_trained(target.path, device)
    label, recipe, began = f"{target.name} ({views})", trained.recipe, time.monotonic()
    if not stop:
        loader = view_loader(recipe, root, segments, views, store)
        predictions = predict(trained.model, loader, len(loader), device, label)
        return Made(predictions, time.monotonic() - began, views.count)

    def loader_of(some: Sequence[Segment], place: Place) -> ViewLoader:
        return view_loader(recipe, root, some, views, store, [place])

    predictions, done_N = predict_until_decided(trained.model, loader_of, segments, views, stop, device, label)
    return Made(predictions, time.monotonic() - began, float(done_N.mean()))
