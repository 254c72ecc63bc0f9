"""What `validate`, `predict` and `submit` are pointed at: a checkpoint, a run, or files of predictions."""

import logging
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.prepared import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.errors import EpicsubError, InferenceError, PredictionsError
from epicsub.hub.folder import WEIGHTS, is_published, read_folder
from epicsub.hub.remote import SCHEME, parse_address, pull
from epicsub.inference.cache import Made, cache_file, find_predictions, keep_predictions, key_of
from epicsub.inference.notes import mean_note, upper_bound_note
from epicsub.inference.predict import ClipPosition, concatenate, predict, predict_until_decided
from epicsub.io import sha256, user_path
from epicsub.models.heads import PAIRS_NAME
from epicsub.predictions import Predictions, read_predictions
from epicsub.recipe import Recipe, recipe_from_dict
from epicsub.text import join_problems
from epicsub.training.boxes import coverage_notes
from epicsub.training.build import model_of
from epicsub.training.checkpoint import Checkpoint, load_trained
from epicsub.training.device import autocast, use_fast_kernels
from epicsub.training.loaders import ViewLoader, reading_notes, store_of, view_loader
from epicsub.training.loop import selected_checkpoint
from epicsub.training.mps import why_not
from epicsub.training.preflight import missing_files

PREDICTION_SUFFIXES = (".npz", ".pt", ".pkl", ".json")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A model with its weights, and the recipe that says how its clips are cut."""

    model: nn.Module
    recipe: Recipe
    checkpoint: Checkpoint

    def autocast(self) -> AbstractContextManager[object]:
        """Open the floating point of the model's training.

        Returns:
            The context of its forward passes.
        """
        return autocast(self.recipe.train.precision, next(self.model.parameters()).device)


@dataclass(frozen=True, eq=False)
class Target:
    """A checkpoint to predict with, or files of predictions to read."""

    name: str
    path: Path
    checkpoint: Checkpoint | None = None
    """Read once, without optimiser state, the weights still on the disk; None for predictions."""
    also: tuple[Path, ...] = ()
    """Further files of predictions, of other segments."""

    @property
    def kind(self) -> Literal["checkpoint", "predictions"]:
        """What the file holds."""
        return "predictions" if self.checkpoint is None else "checkpoint"

    @cached_property
    def sha256(self) -> str:
        """Digest of the file's content."""
        return sha256(self.path)

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe of the checkpoint."""
        return recipe_from_dict(self._checkpoint.recipe, str(self.path))

    def load(self, device: torch.device) -> Trained:
        """Build the checkpoint's model.

        Args:
            device: where to.

        Returns:
            The model with the checkpoint's weights, and its recipe.

        Raises:
            InferenceError: the target holds predictions, or its weights do not fit its recipe.
        """
        checkpoint, recipe = self._checkpoint, self.recipe
        make = partial(model_of, recipe, weights=False, actions=checkpoint.model.get(PAIRS_NAME))
        model = make()
        missing, unexpected = model.load_state_dict(checkpoint.model, strict=False)
        if missing or unexpected:
            raise InferenceError(
                f"{self.path}: does not fit its own recipe's model: missing {missing[:5]}, unexpected {unexpected[:5]}"
            )
        if device.type == "mps" and (lacking := why_not(make, recipe, backward=False)):
            raise InferenceError(f"{self.name}: {lacking}")
        use_fast_kernels(model.to(device), device)
        return Trained(model, recipe, checkpoint)

    def notes(self) -> list[str]:
        """Describe what a reader of the checkpoint's scores should know.

        Returns:
            A line each; empty for predictions.
        """
        notes: list[str] = []
        if self.checkpoint is None:
            return notes
        if self.checkpoint.recipe["adaptation"]["method"] == "supervised":
            notes.append(upper_bound_note(self.checkpoint.recipe["data"]["source"]))
        if self.checkpoint.mean_of_last:
            notes.append(mean_note(self.checkpoint.mean_of_last))
        return notes

    @property
    def _checkpoint(self) -> Checkpoint:
        if self.checkpoint is None:
            raise InferenceError(f"{self.path}: holds predictions; name a checkpoint (.pth) or a run")
        return self.checkpoint


def resolve_target(text: str, outputs: Path = Path("outputs")) -> Target:
    """Find what a word of the command line means, and read it if it is a checkpoint.

    Args:
        text: a `.pth` file, a run's folder, a run's name under `outputs`, hf://ORG/NAME[@REVISION], a folder that was
            pulled from there, a file of predictions, or several of the latter with commas between, which hold different
            segments.
        outputs: folder of runs.

    Returns:
        The target.

    Raises:
        InferenceError: nothing fits; the message names the places looked at and the runs there are.
        TrainingError: the checkpoint is damaged or not one of epicsub.
        HubError: a model of the hub that cannot be fetched or read.
    """
    if text.startswith(SCHEME):
        address = parse_address(text)
        return _published(pull(address), address.repository.partition("/")[2])
    for path in (user_path(text), outputs / text):
        if path.is_dir() and is_published(path):
            return _published(path, path.name)
        if path.is_dir():
            return Target(path.name, *_run_checkpoint(path))
        if path.is_file():
            suffix = path.suffix.lower()
            if suffix == ".pth":
                name = path.parent.name if path.stem in ("last", "best") else path.stem
                return Target(name, path, load_trained(path))
            if suffix in PREDICTION_SUFFIXES:
                return Target(path.stem, path)
            raise InferenceError(
                f"{path}: neither a checkpoint (.pth) nor predictions ({', '.join(PREDICTION_SUFFIXES)}); name one "
                "of these"
            )
    if "," in text and all(Path(part).suffix.lower() in PREDICTION_SUFFIXES for part in text.split(",")):
        parts = [resolve_target(part, outputs) for part in text.split(",")]
        return replace(parts[-1], also=tuple(part.path for part in parts[:-1]))
    runs = sorted(folder.name for folder in outputs.glob("*") if (folder / "last.pth").is_file())
    raise InferenceError(
        f"{text}: no such file, and no run of that name in {outputs}/ "
        f"(there: {', '.join(runs) if runs else 'no runs yet; `epicsub train RECIPE` makes one'})"
    )


def resolve_targets(texts: Sequence[str], outputs: Path = Path("outputs")) -> list[Target]:
    """Find several targets; those that would share a name are called by their paths.

    Args:
        texts: as of `resolve_target`.
        outputs: as of `resolve_target`.

    Returns:
        The targets, in the order of the words.

    Raises:
        InferenceError: all words that fit nothing, or the same file twice.
    """
    found: list[Target] = []
    problems: list[str] = []
    for text in texts:
        try:
            found.append(resolve_target(text, outputs))
        except EpicsubError as error:
            problems.append(str(error))
    paths = [target.path.resolve() for target in found]
    problems += [
        f"{path}: named {paths.count(path)} times, name it once"
        for path in dict.fromkeys(paths)
        if paths.count(path) > 1
    ]
    if problems:
        raise InferenceError("\n".join(problems))
    names = [target.name for target in found]
    return [replace(t, name=str(t.path)) if names.count(t.name) > 1 else t for t in found]


def _published(folder: Path, name: str) -> Target:
    """A model as the hub carries it."""
    return Target(name, folder / WEIGHTS, read_folder(folder))


def _run_checkpoint(folder: Path) -> tuple[Path, Checkpoint]:
    """The checkpoint that stands for a run: the last or the best one, as its recipe says."""
    last = folder / "last.pth"
    if not last.is_file():
        raise InferenceError(f"{folder}: holds no run (no last.pth); name a folder that `epicsub train` wrote")
    checkpoint = load_trained(last)
    path = folder / selected_checkpoint(recipe_from_dict(checkpoint.recipe, str(last)))
    return path, checkpoint if path == last else load_trained(path)


def predictions_of(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, stop: int = 0
) -> Predictions:
    """Predict a list of segments with a checkpoint, or read the predictions of a file.

    Args:
        target: what to predict with.
        segments: the list, in its order.
        root: where the videos lie.
        views: views per segment, or None for the recipe's own; a file of predictions has had its views.
        device: where to run.
        stop: leave out views that cannot change the order of a segment's so many best classes; 0 takes all.

    Returns:
        Predictions: of a checkpoint for exactly these segments in their order, of a file for all that it holds.

    Raises:
        InferenceError: videos are missing, or files of predictions have segments in common.
        PredictionsError: a file of predictions cannot be read.
    """
    if target.kind == "checkpoint":
        return predict_checkpoint(target, segments, root, views, device, stop).predictions
    parts = [read_predictions(path) for path in (target.path, *target.also)]
    try:
        return concatenate(parts)
    except PredictionsError as error:
        raise InferenceError(f"{target.name}: its files do not fit together: {error}") from error


def predict_checkpoint(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, stop: int = 0
) -> Made:
    """Predict with a checkpoint, or find the predictions kept beside it (see cache.py).

    Args:
        target: a checkpoint.
        segments: as of `predictions_of`, like all that follow.
        root: where the videos lie.
        views: None for the recipe's.
        device: to predict on.
        stop: K best whose order must be certain; 0 takes all views.

    Returns:
        Predictions and what they cost when they were made.

    Raises:
        InferenceError: videos are missing, or the target holds predictions.
    """
    recipe = target.recipe
    chosen = views or parse_views(recipe.evaluation.views)
    store = store_of(recipe, root, segments)
    key = key_of(target.sha256, recipe, segments, root, store.prepared, chosen, stop, device)
    file = cache_file(target.path, key)
    if (made := find_predictions(file, key)) is not None:
        log.info(
            "%s (%s): %d predictions taken from %s, made in %.1f s",
            target.name, chosen, len(segments), file, made.seconds,
        )  # fmt: skip
        return replace(made, predictions=made.predictions.select([segment.narration_id for segment in segments]))
    missing = missing_files(recipe, root, segments, store)
    if missing:
        raise InferenceError(join_problems(missing, "nothing was predicted"))
    for note in (*reading_notes(recipe, root, segments, store), *coverage_notes(recipe, root, {"the list": segments})):
        log.info(note)
    made = _predict(target, segments, root, store, chosen, device, stop)
    keep_predictions(file, key, made)
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
    trained = target.load(device)
    label, recipe, began = f"{target.name} ({views})", target.recipe, time.monotonic()
    if not stop:
        loader = view_loader(recipe, root, segments, views, store)
        with trained.autocast():
            predictions = predict(trained.model, loader, len(loader), device, label)
        return Made(predictions, time.monotonic() - began, views.count)

    def loader_of(some: Sequence[Segment], place: ClipPosition) -> ViewLoader:
        return view_loader(recipe, root, some, views, store, [place])

    with trained.autocast():
        predictions, done_N = predict_until_decided(trained.model, loader_of, segments, views, stop, device, label)
    return Made(predictions, time.monotonic() - began, float(done_N.mean()))
