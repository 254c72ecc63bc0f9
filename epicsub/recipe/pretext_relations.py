"""What the rest of a recipe must be where it has a `pretext`: all that pre-training does not read stays at its default.

A setting that is written and has no effect would look as if it had one.
"""

from collections.abc import Iterator

from epicsub.models.table import MODELS
from epicsub.recipe.model import FrameMeanModel, FrameModelSection
from epicsub.recipe.pretext import Pretext, check_pretext
from epicsub.recipe.schema import Recipe
from epicsub.recipe.stage import Stage
from epicsub.recipe.train import Train
from epicsub.recipe.yaml_tree import Problem, format_value

CHUNKS = 4
SELF_SUPERVISED = 3
READ = (
    "stages", "optimizer", "clip_grad", "deterministic", "precision", "devices", "accelerator", "log_every",
    "checkpoint_every", "evaluate_every", "select",
)  # fmt: skip
"""Of `train`."""


def check_pretraining(recipe: Recipe) -> Iterator[Problem]:
    """Check the recipe of a pre-training.

    Args:
        recipe: Of valid fields.

    Yields:
        What does not fit; nothing for a recipe without `pretext`.
    """
    pretext = recipe.pretext
    if pretext is None:
        return
    yield from check_pretext(pretext)
    if recipe.adaptation.method != "source_only":
        text = f"is {recipe.adaptation.method}, but pre-training adapts nothing: write source_only"
        yield Problem("adaptation.method", text)
    if recipe.supervision.pretraining < SELF_SUPERVISED:
        text = f"is {recipe.supervision.pretraining}, but weights of this recipe are self-supervised: write 3, or 4"
        yield Problem("supervision.pretraining", text)
    yield from _check_train(recipe.train)
    for index, stage in enumerate(recipe.train.stages):
        yield from _check_stage(f"train.stages.{index}", stage)
    if recipe.data.features is not None:
        yield Problem("data.features", "is given, but there is no clip to shuffle: leave it out")
        return
    if recipe.data.boxes is not None:
        yield Problem("data.boxes", "is given, but hands and objects do not follow the pieces of a clip: leave it out")
    yield from _check_clips(recipe, pretext)


def _check_train(train: Train) -> Iterator[Problem]:
    for name, field in Train.model_fields.items():
        value = getattr(train, name)
        if name not in READ and value != field.get_default(call_default_factory=True):
            text = f"is {format_value(value)}, which pre-training does not read: leave it out"
            yield Problem(f"train.{name}", text)
    for key, value in {"devices": train.devices, "nodes": train.nodes}.items():
        if value != 1:
            yield Problem(f"train.{key}", f"is {value}, but pre-training takes one: write 1")
    if train.evaluate_every is not None:
        text = f"is {train.evaluate_every}, but pre-training reads no labels to score with: write null"
        yield Problem("train.evaluate_every", text)


def _check_stage(key: str, stage: Stage) -> Iterator[Problem]:
    if stage.target_batch:
        text = f"is {stage.target_batch}, but source_batch counts the clips of all lists: write 0"
        yield Problem(f"{key}.target_batch", text)
    if stage.source_batch < 4:
        yield Problem(f"{key}.source_batch", f"is {stage.source_batch}, must be at least 4, halves of two clips")
    if stage.epochs is not None:
        yield Problem(f"{key}.epochs", f"is {format_value(stage.epochs)}, but pre-training counts steps: write steps")


def _check_clips(recipe: Recipe, pretext: Pretext) -> Iterator[Problem]:
    """Check that pieces are what the network can read."""
    model, data, row = recipe.model, recipe.data, MODELS[recipe.model.name]
    frames = data.video().frames if not _missing(recipe) else CHUNKS
    temporal = pretext.tasks != "spatial"
    if temporal and frames % CHUNKS:
        yield Problem("data.frames", f"is {frames}, must be a multiple of the {CHUNKS} chunks")
    if isinstance(model, FrameModelSection) and len(data.modalities) > 1:
        text = "but model.weights of a frame model is one file for all streams: pre-train one modality at a time"
        yield Problem("data.modalities", f"is {format_value(data.modalities)}, {text}")
    if pretext.head == "joint":
        if isinstance(model, FrameMeanModel) and temporal:
            text = "is joint, but the mean over frames is the same in any order: write siamese"
            yield Problem("pretext.head", text)
        return
    if isinstance(model, FrameModelSection):
        return
    if row.clip:
        text = f"is siamese, but {model.name} is built for whole clips of one shape: write joint"
        yield Problem("pretext.head", text)
    elif temporal and frames // CHUNKS < row.min_frames:
        text = f"is siamese, whose chunks have {frames // CHUNKS} frames, and {row.name} needs {row.min_frames}"
        yield Problem("pretext.head", f"{text}: write joint, or data.frames {CHUNKS * row.min_frames}")


def _missing(recipe: Recipe) -> bool:
    """True where the section of videos is incomplete, which is reported by itself."""
    data = recipe.data
    return None in (data.frames, data.sampling, data.short_side, data.size, data.augment)
