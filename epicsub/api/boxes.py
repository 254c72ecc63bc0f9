"""What reports and manifests say of the boxes of a model that reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epicsub.data.annotations import Segment
from epicsub.data.boxes.coverage import coverage_by_year
from epicsub.data.boxes.slots import BoxSource
from epicsub.data.boxes.store import boxes_path
from epicsub.data.root import DataRoot
from epicsub.errors import InferenceError
from epicsub.inference.targets import Target
from epicsub.io.files import may_be_file
from epicsub.predictions import Predictions
from epicsub.recipe import Recipe
from epicsub.training.boxes import box_coverage, box_source_of, filled_slots
from epicsub.validation import Reference

NOTED = ("all_verb_accuracy_at_1", "all_noun_accuracy_at_1", "all_action_accuracy_at_1")


def reads_boxes(target: Target | None) -> bool:
    """Tell if a model reads boxes.

    Args:
        target: a checkpoint, or a file of predictions, which does not know.

    Returns:
        True for a checkpoint whose recipe has `data.boxes`.
    """
    return target is not None and target.checkpoint is not None and target.recipe.data.boxes is not None


def boxes_around(recipe: Recipe, video: Path) -> BoxSource | None:
    """Find the boxes of a single video, in a data root around it.

    Args:
        recipe: of the model that is to see the video.
        video: a video file.

    Returns:
        None for a model that reads no boxes.

    Raises:
        InferenceError: there are none, and the recipe does not accept that.
    """
    if recipe.data.boxes is None:
        return None
    for folder in video.resolve().parents:
        if may_be_file(boxes_path(folder, video.stem)):
            return box_source_of(recipe, DataRoot(folder))
    if recipe.data.boxes.missing == "none":
        return box_source_of(recipe, DataRoot(video.parent))
    raise InferenceError(
        f"{recipe.name} reads boxes, and there are none for {video}: put it into the videos/ of a data root and run "
        "`epicsub data boxes` there, with --detector mediapipe where there are no official ones"
    )


def coverage_of(target: Target, root: DataRoot, segments: Sequence[Segment]) -> dict[str, dict[str, float]]:
    """Count the segments of a list that have boxes.

    Args:
        target: a checkpoint that reads boxes.
        root: the data root.
        segments: of the list.

    Returns:
        By year: segments, those with a box, mean number of filled slots.
    """
    return {year: found.as_json() for year, found in box_coverage(target.recipe, root, segments).items()}


def scores_by_boxes(
    target: Target, root: DataRoot, segments: Sequence[Segment], predicted: Predictions, reference: Reference
) -> dict[str, Any]:
    """Score the segments with and without boxes apart.

    Args:
        target: a checkpoint that reads boxes.
        root: the data root.
        segments: that were predicted.
        predicted: predictions of them.
        reference: what they are scored against.

    Returns:
        coverage by year; scores with and without boxes, each where there are such segments.
    """
    filled = filled_slots(target.recipe, root, segments)
    parts = {"with": [name for name in filled if filled[name]], "without": [n for n in filled if not filled[n]]}
    return {
        "coverage": {year: found.as_json() for year, found in coverage_by_year(segments, filled).items()},
        "scores": {name: reference.evaluate(predicted.select(ids)).scores for name, ids in parts.items() if ids},
    }


def box_remarks(boxes: dict[str, Any]) -> list[str]:
    """Put the coverage and the scores with and without boxes into words.

    Args:
        boxes: as `scores_by_boxes` gives them.

    Returns:
        Lines for the report.
    """
    lines = [
        f"boxes, {year}: {found['covered']} of {found['segments']} segments have one, {found['mean_slots']:.2f} slots "
        "are filled on average"
        for year, found in boxes["coverage"].items()
    ]
    for name, scores in boxes["scores"].items():
        known = ", ".join(f"{score} {scores[score]:.2f}" for score in NOTED if score in scores)
        lines.append(f"segments {name} boxes: {known}")
    return lines
