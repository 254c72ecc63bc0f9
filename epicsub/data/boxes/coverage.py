"""Which videos have boxes, and how many segments and slots are filled with them, by year."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.data.annotations import Segment
from epicsub.data.boxes.convert import usual_source
from epicsub.data.boxes.store import boxes_path
from epicsub.data.frames import index_rate
from epicsub.io.files import may_be_file
from epicsub.slots import SLOTS
from epicsub.text import counted

YEARS = {60: "2018", 50: "2020"}
"""Of the recordings, by the rate of their extracted frames."""


@dataclass(frozen=True, slots=True)
class BoxCoverage:
    """How many segments have any slot in the middle of them, and how many slots a slice has on average."""

    segments: int
    covered: int
    mean_slots: float

    def __str__(self) -> str:
        share = 100 * self.covered / max(1, self.segments)
        return (
            f"{self.covered} of {counted(self.segments, 'segment', 'segments')} ({share:.1f} %) have a box, "
            f"{self.mean_slots:.2f} of {len(SLOTS)} slots are filled"
        )

    def as_json(self) -> dict[str, float]:
        """Convert to plain numbers.

        Returns:
            segments, covered and mean_slots.
        """
        return {"segments": self.segments, "covered": self.covered, "mean_slots": round(self.mean_slots, 4)}


def year_of(video_id: str) -> str:
    """Tell when a video was recorded.

    Args:
        video_id: like P01_01 or P01_101.

    Returns:
        2018 or 2020.
    """
    return YEARS[index_rate(video_id)]


def coverage_by_year(segments: Sequence[Segment], filled: Mapping[str, float]) -> dict[str, BoxCoverage]:
    """Count segments and slots.

    Args:
        segments: of one list.
        filled: mean number of filled slots a slice, by narration id.

    Returns:
        By year, for those that the list has.
    """
    by_year: dict[str, list[float]] = {}
    for segment in segments:
        by_year.setdefault(year_of(segment.video_id), []).append(filled[segment.narration_id])
    return {
        year: BoxCoverage(len(means), sum(mean > 0 for mean in means), sum(means) / len(means))
        for year, means in sorted(by_year.items())
    }


def missing_boxes(root: Path, segments: Iterable[Segment]) -> list[str]:
    """List the videos without boxes.

    Args:
        root: the data root.
        segments: of the videos.

    Returns:
        One line for each, and what to do about it.
    """
    counts = Counter(segment.video_id for segment in segments)
    gone = [video_id for video_id in sorted(counts) if not may_be_file(boxes_path(root, video_id))]
    lines = [
        f"{video_id}: no boxes for {counted(counts[video_id], 'segment', 'segments')} ({boxes_path(root, video_id)})"
        for video_id in gone
    ]
    if lines:
        lines[-1] += (
            f"\nput the official pickles at {root / usual_source(gone[-1])} and the like and run `epicsub data boxes "
            f"--data {root}`, find hands with --detector mediapipe, or accept clips without boxes: "
            "data.boxes.missing=none"
        )
    return lines
