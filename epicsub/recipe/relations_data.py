"""What `data.boxes` needs of the rest of a recipe: boxes say where something is, so nothing may move it unseen."""

from collections.abc import Iterator

from epicsub.modality import HAND_CROP, RGB
from epicsub.recipe.data import Data
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, format_value

DETECTOR_LABELS = 5
"""Supervision level of labels: the detector of the official boxes learnt from labelled frames of EPIC-KITCHENS-55."""


def check_boxes(recipe: Recipe) -> Iterator[Problem]:
    """Check that the settings around `data.boxes` fit it.

    Args:
        recipe: of valid fields.

    Yields:
        What does not fit.
    """
    yield from _check_crop(recipe.data)
    data, boxes, mixing = recipe.data, recipe.data.boxes, recipe.train.mixing
    if boxes is None or data.features is not None:  # `check_data` refuses boxes of features
        return
    if RGB.name not in data.modalities:
        text = f"is set, but data.modalities is {format_value(data.modalities)}: boxes are of {RGB.name}, add it"
        yield Problem("data.boxes", text)
    if data.frames is not None and data.frames % boxes.slices:
        text = f"is {boxes.slices}, must divide data.frames ({data.frames})"
        yield Problem("data.boxes.slices", text)
    for name in ("mixup", "cutmix"):
        if mixing is not None and (alpha := getattr(mixing, name)):
            text = f"is {format_value(alpha)}, but a mixed clip shows two clips and data.boxes is of one: write 0"
            yield Problem(f"train.mixing.{name}", text)
    if data.augment is not None and data.augment.rand_augment is not None:
        text = "moves and shears the picture, which data.boxes does not follow: leave it out"
        yield Problem("data.augment.rand_augment", text)
    if recipe.supervision.labels < DETECTOR_LABELS:
        text = (
            f"is {recipe.supervision.labels}, but the detector of data.boxes learnt from labelled frames of "
            f"EPIC-KITCHENS-55: write {DETECTOR_LABELS}, until the organisers say less"
        )
        yield Problem("supervision.labels", text)


def _check_crop(data: Data) -> Iterator[Problem]:
    """Check that a crop around the hands has boxes to find them by, a picture to be cut from, and a stream."""
    names = data.modalities
    if (data.crop is None) != (HAND_CROP.name not in names):
        text = f"is {format_value(data.crop)}, but data.modalities is {format_value(names)}: "
        advice = f"add {HAND_CROP.name}" if data.crop else f"write hands, which {HAND_CROP.name} is cut by"
        yield Problem("data.crop", text + advice)
    if HAND_CROP.name in names and HAND_CROP.cut_from not in names:
        text = f"is {format_value(names)}, but {HAND_CROP.name} is cut from {HAND_CROP.cut_from}: add it"
        yield Problem("data.modalities", text)
    if data.crop and data.boxes is None and data.features is None:
        yield Problem(
            "data.boxes", f"missing, data.crop {data.crop} finds the hands by them: write {{}} for the defaults"
        )
