"""What there is to prepare: the parts of each video that segments need, overlaps once, and what they will take."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.data.annotations import Segment
from epicsub.data.prepared.file import Index, encode, read_index
from epicsub.data.prepared.source import open_source, source_name
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.modality import MODALITIES
from epicsub.text import counted, sized

OFFICIAL_LISTS = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv")
JOINED_GAP = 0.25  # seconds: two stretches nearer than that are stored as one
SAMPLES, SAMPLE_SECONDS = 12, 2.0
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are stored: `short_side` pixels (rgb), x264's crf, `margin` seconds around each segment."""

    short_side: int = 256
    crf: int = 20
    margin: float = 0.5

    def __post_init__(self) -> None:
        problems = [
            text
            for wrong, text in (
                (self.short_side < 16, f"short_side={self.short_side}: 16 pixels or more"),
                (not 0 <= self.crf <= 51, f"crf={self.crf}: 0 (large) to 51 (small)"),
                (not 0 <= self.margin < float("inf"), f"margin={self.margin}: seconds, 0 or more"),
            )
            if wrong
        ]
        if problems:
            raise DataError("nothing can be prepared with these settings:\n" + "\n".join(problems))


@dataclass(frozen=True, slots=True)
class Job:
    """One entry to write."""

    root: Path
    video_id: str
    modality: str
    intervals: tuple[Interval, ...]
    settings: Settings

    @property
    def seconds(self) -> float:
        """Of video."""
        return sum(stop - start for start, stop in self.intervals)


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes a second of video, 0 where nothing could be measured; the pieces that were, and of how many videos."""

    rate: float
    pieces: int
    videos: int
    problems: list[str]  # of the pieces that could not be read


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one modality."""

    modality: str
    jobs: list[Job]
    kept: int  # entries that are there and complete
    kept_bytes: int
    missing: dict[str, int]  # video id -> segments, of videos whose original is not here
    seconds: float  # of all the segments asked for, overlaps once, here or not
    stored_seconds: float  # of what the store will hold of them, margins with them

    def told(self) -> str:
        """One line for the user."""
        return (
            f"{self.modality}: {self.seconds / 3600:.2f} h of video in segments, overlaps once, "
            f"{self.stored_seconds / 3600:.2f} h with margins; {counted(self.kept, 'video is', 'videos are')} prepared "
            f"({sized(self.kept_bytes)}), {len(self.jobs)} to do, {len(self.missing)} not here"
        )

    def told_size(self, measured: "Measured") -> str:
        """What it will take at the rate measured on this plan's videos, for the user."""
        if not measured.rate:
            return (
                f"{self.modality}: what it will take cannot be measured, none of "
                f"{counted(len(measured.problems), 'piece', 'pieces')} tried can be read (the first: "
                f"{measured.problems[0]})"
            )
        rate = measured.rate
        to_do, whole = (sized(seconds * rate) for seconds in (sum(j.seconds for j in self.jobs), self.stored_seconds))
        return (
            f"{self.modality}: {rate / 1e3:.0f} kB a second, measured on "
            f"{counted(measured.pieces, 'piece', 'pieces')} of {counted(measured.videos, 'video', 'videos')} here; "
            f"to do: about {to_do}; the store of all these segments, at that rate: {whole}"
        )

    def told_typical(self) -> str:
        """The same where no video is here to measure on."""
        rate = MODALITIES[self.modality].bytes_per_second
        return (
            f"{self.modality}: no video is here to measure on; at {rate / 1e3:.0f} kB a second, as a real kitchen clip "
            f"at 60 frames a second takes (benchmarks/store_size.py), the store of all these segments: "
            f"{sized(self.stored_seconds * rate)}"
        )


def lists_of(root: DataRoot, names: Sequence[str]) -> list[str]:
    """`names`, or where there are none the official lists that are there."""
    there = [name for name in OFFICIAL_LISTS if (root.path / "annotations" / name).is_file()]
    return list(names) or there or [OFFICIAL_LISTS[0]]  # the last one for the message that it is not there


def listed_segments(root: DataRoot, names: Sequence[str]) -> list[Segment]:
    """Segments of the lists `names`, or of the official ones that are there.

    Raises:
        DataError: none is there, or one is wrong.
    """
    return [segment for name in lists_of(root, names) for segment in root.segments(name)]


def joined(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of intervals, in order, with gaps under `JOINED_GAP` filled."""
    out: list[Interval] = []
    for start, stop in sorted(intervals):
        if out and start < out[-1][1] + JOINED_GAP:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def intervals_of(segments: Iterable[Segment], margin: float) -> dict[str, list[Interval]]:
    """For each video what its segments need, `margin` seconds on both sides with them."""
    found: dict[str, list[Interval]] = {}
    for segment in segments:
        found.setdefault(segment.video_id, []).append((max(0.0, segment.start - margin), segment.stop + margin))
    return {video_id: joined(intervals) for video_id, intervals in sorted(found.items())}


def make_plan(
    root: DataRoot, segments: Sequence[Segment], modality: str, settings: Settings, overwrite: bool = False
) -> Plan:
    """Compare what the segments need with what is there.

    Raises:
        DataError: entries were made with other settings or from another file, and are not to be overwritten.
    """
    wanted = intervals_of(segments, settings.margin)
    jobs: list[Job] = []
    conflicts: list[str] = []
    missing: dict[str, int] = {}
    kept = kept_bytes = 0
    for video_id, intervals in wanted.items():
        original, path = root.found(video_id, modality), root.prepared(video_id, modality)
        index = read_index(path)
        differs = _differences(index, original, modality, settings) if index else []
        if index and not differs and all(index.covers(start, stop) for start, stop in intervals):
            kept, kept_bytes = kept + 1, kept_bytes + index.note["bytes"]
            continue
        if original is None:
            missing[video_id] = sum(segment.video_id == video_id for segment in segments)
            continue
        if index and differs and not overwrite:
            conflicts.append(f"{path}: {', '.join(differs)}")
        there = _stored(index) if index and not differs else []
        jobs.append(Job(root.path, video_id, modality, tuple(joined([*intervals, *there])), settings))
    if conflicts:
        told = "\n".join(conflicts)
        raise DataError(f"there are entries that were made otherwise; delete them or ask for overwriting:\n{told}")
    jobs.sort(key=lambda job: -job.seconds)  # the longest first: no core waits for one at the end
    bare = intervals_of(segments, 0.0)
    return Plan(modality, jobs, kept, kept_bytes, missing, _seconds(bare), _seconds(wanted))


def _seconds(found: dict[str, list[Interval]]) -> float:
    return sum(stop - start for intervals in found.values() for start, stop in intervals)


def sampled(jobs: Sequence[Job]) -> list[tuple[Job, Interval]]:
    """Up to `SAMPLES` intervals, spread evenly over all videos."""
    every = [(job, interval) for job in sorted(jobs, key=lambda job: job.video_id) for interval in job.intervals]
    count = min(SAMPLES, len(every))
    return [every[(2 * number + 1) * len(every) // (2 * count)] for number in range(count)]


def measured_rate(jobs: Sequence[Job]) -> Measured:
    """Bytes a second of video: the middle of some intervals, encoded as the store will hold it.

    An original that cannot be read there is left out; preparing it will say why.
    """
    size = seconds = 0.0
    problems: list[str] = []
    videos: list[str] = []
    for job, interval in sampled(jobs):
        try:
            more_size, more_seconds = _measured(job, interval)
        except DataError as error:
            problems.append(str(error))
            continue
        size, seconds = size + more_size, seconds + more_seconds
        videos.append(job.video_id)
    return Measured(size / seconds if seconds else 0.0, len(videos), len(set(videos)), problems)


def _measured(job: Job, interval: Interval) -> tuple[int, float]:
    """Bytes and seconds of a piece."""
    source = open_source(DataRoot(job.root), job.video_id, job.modality, job.settings.short_side)
    last = source.note["duration"] - 0.5 / source.note["fps"]
    start, stop = interval[0], min(interval[1], last)
    begin = min(max(start, (start + stop - SAMPLE_SECONDS) / 2), last)
    pictures = source.pictures(begin, max(begin, min(begin + SAMPLE_SECONDS, stop)))
    packets, stamps, end = encode(pictures, job.settings.crf, source.note)
    source.close()
    numerator, denominator = source.note["tick"]
    return sum(len(data) for _, data, _ in packets), (end - stamps[0]) * numerator / denominator


def check_space(folder: Path, needed: float) -> int:
    """Bytes that are free where the store will lie.

    Raises:
        DataError: fewer than `needed`.
    """
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {sized(free)} are free, the store will take about {sized(needed)}: make room, put "
            "prepared/ on a larger disk, or choose fewer lists (--list) or a higher --crf; nothing was started"
        )
    return free


def _differences(index: Index, original: Path | None, modality: str, settings: Settings) -> list[str]:
    """How an entry differs from what is asked; where the original is gone, it cannot be compared."""
    asked = {"crf": settings.crf} | ({"short_side": settings.short_side} if not MODALITIES[modality].keeps_size else {})
    if original is not None:
        asked["source"] = source_name(original)  # type: ignore[assignment]
    return [
        f"{key} {index.note.get(key)} there, {value} asked"
        for key, value in asked.items()
        if index.note.get(key) != value
    ]


def _stored(index: Index) -> list[Interval]:
    return [
        (float((s.first - index.note["start"]) * index.tick), float((s.end - index.note["start"]) * index.tick) - 0.002)
        for s in index.stretches
    ]
