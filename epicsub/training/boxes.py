"""Hands and objects of a recipe: what fills the slots of its clips, what is missing, and how many clips have any."""

from collections.abc import Iterable, Mapping, Sequence

from epicsub.data.annotations import Segment
from epicsub.data.boxes.coverage import BoxCoverage, coverage_by_year, missing_boxes
from epicsub.data.boxes.slots import BoxSource, SlotSettings, slots_present
from epicsub.data.root import DataRoot
from epicsub.data.sampling import clip_times
from epicsub.progress import track
from epicsub.recipe import Recipe


def box_source_of(recipe: Recipe, root: DataRoot) -> BoxSource | None:
    """Open what fills the slots of a recipe's clips.

    Args:
        recipe: with `data.boxes`.
        root: the data root.

    Returns:
        None where the recipe has no boxes.
    """
    boxes = recipe.data.boxes
    return BoxSource(root.path, SlotSettings(**dict(boxes))) if boxes else None


def box_problems(recipe: Recipe, root: DataRoot, segments: Iterable[Segment]) -> list[str]:
    """List the videos whose boxes a run lacks.

    Args:
        recipe: with `data.boxes`, or without.
        root: the data root.
        segments: of the run.

    Returns:
        A line each; empty where clips without boxes are accepted.
    """
    boxes = recipe.data.boxes
    return missing_boxes(root.path, segments) if boxes and boxes.missing == "stop" else []


def filled_slots(recipe: Recipe, root: DataRoot, segments: Sequence[Segment]) -> dict[str, float]:
    """Count the slots of the middle clip of each segment.

    Args:
        recipe: with `data.boxes`.
        root: the data root.
        segments: any.

    Returns:
        By narration id, the mean number of filled slots a slice, in the whole picture.

    Raises:
        DataError: boxes are damaged, or missing where they must not be.
    """
    source, cut = box_source_of(recipe, root), recipe.data.video()
    assert source is not None
    filled = {}
    for segment in track(segments, "counting boxes", len(segments)):
        times = clip_times(segment.start, segment.stop, cut.frames, cut.sampling, cut.stride, 0.5)
        filled[segment.narration_id] = float(slots_present(source.fill(segment.video_id, times)).sum(1).mean())
    return filled


def box_coverage(recipe: Recipe, root: DataRoot, segments: Sequence[Segment]) -> dict[str, BoxCoverage]:
    """Count the segments of a list that have any box.

    Args:
        recipe: with `data.boxes`.
        root: the data root.
        segments: of the list.

    Returns:
        By year.

    Raises:
        DataError: boxes are damaged, or missing where they must not be.
    """
    return coverage_by_year(segments, filled_slots(recipe, root, segments))


def coverage_notes(recipe: Recipe, root: DataRoot, lists: Mapping[str, Sequence[Segment]]) -> list[str]:
    """Tell how far the boxes of a run go.

    Args:
        recipe: with `data.boxes`, or without.
        root: the data root.
        lists: segments by list.

    Returns:
        A line for each list and year; none without boxes.

    Raises:
        DataError: boxes are damaged, or missing where they must not be.
    """
    if recipe.data.boxes is None:
        return []
    return [
        f"boxes of {name}, {year}: {coverage}"
        for name, segments in lists.items()
        for year, coverage in box_coverage(recipe, root, segments).items()
    ]
