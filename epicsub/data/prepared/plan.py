"""What there is to prepare: the parts of each video that segments need, overlaps once, and the space they take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.data.annotations import Segment
from epicsub.data.decode import last_time
from epicsub.data.prepared import Index, read_index
from epicsub.data.prepared.encode import encode, open_source, source_name
from epicsub.data.root import DataRoot, group_by_video
from epicsub.errors import DataError
from epicsub.modality import MODALITIES

OFFICIAL_LISTS = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv")
MERGE_GAP = 0.25  # seconds: two stretches nearer than that are stored as one
SAMPLES, SAMPLE_SECONDS = 12, 2.0
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are stored: `short_side` pixels (rgb), x264's crf, `margin` seconds around each segment."""

    short_side: int = 256
    crf: int = 20
    margin: float = 0.5

    def __post_init__(self) -> None:
        rules = {
            f"short_side={self.short_side}: 16 pixels or more": self.short_side >= 16,
            f"crf={self.crf}: 0 (large) to 51 (small)": 0 <= self.crf <= 51,
            f"margin={self.margin}: seconds, 0 or more": 0 <= self.margin < float("inf"),
        }
        if problems := [text for text, kept in rules.items() if not kept]:
            raise DataError("nothing can be prepared with these settings, give others:\n" + "\n".join(problems))


@dataclass(frozen=True, slots=True)
class Job:
    """One entry to write."""

    root: Path
    video_id: str
    modality: str
    intervals: tuple[Interval, ...]
    settings: Settings
    begins: float  # seconds at which the first segment begins, without margin

    @property
    def seconds(self) -> float:
        """Of video."""
        return sum(stop - start for start, stop in self.intervals)


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes per second of video (0 where nothing could be measured), from so many pieces of so many videos."""

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


def names_of_lists(root: DataRoot, names: Sequence[str]) -> list[str]:
    """Fill in the lists to read.

    Args:
        root: the data root.
        names: lists under annotations/, or none.

    Returns:
        `names`, or where there are none the official lists that are there.
    """
    there = [name for name in OFFICIAL_LISTS if (root.path / "annotations" / name).is_file()]
    return list(names) or there or [OFFICIAL_LISTS[0]]  # the last one for the message that it is not there


def listed_segments(root: DataRoot, names: Sequence[str]) -> list[Segment]:
    """Read segments of several lists.

    Args:
        root: the data root.
        names: lists under annotations/; none takes the official ones that are there.

    Returns:
        The segments of one list after the other.

    Raises:
        DataError: none is there, or one is wrong.
    """
    return [segment for name in names_of_lists(root, names) for segment in root.segments(name)]


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Merge intervals that overlap, or lie nearer than `MERGE_GAP` to each other.

    Args:
        intervals: (start, stop) in seconds.

    Returns:
        Their union, in order.
    """
    out: list[Interval] = []
    for start, stop in sorted(intervals):
        if out and start < out[-1][1] + MERGE_GAP:
            out[-1] = (out[-1][0], max(out[-1][1], stop))
        else:
            out.append((start, stop))
    return out


def intervals_of(segments: Iterable[Segment], margin: float) -> dict[str, list[Interval]]:
    """Collect what segments need of each video.

    Args:
        segments: of any videos.
        margin: seconds added on both sides of each.

    Returns:
        Merged intervals in seconds by video id.
    """
    return {
        video_id: merge_intervals((max(0.0, segment.start - margin), segment.stop + margin) for segment in needed)
        for video_id, needed in sorted(group_by_video(segments).items())
    }


def make_plan(
    root: DataRoot, segments: Sequence[Segment], modality: str, settings: Settings, overwrite: bool = False
) -> Plan:
    """Compare what the segments need with what is there.

    Args:
        root: the data root.
        segments: what the store shall hold.
        modality: name of the modality.
        settings: how pictures are stored.
        overwrite: replace entries made with other settings or from another file.

    Returns:
        What is to be done.

    Raises:
        DataError: entries were made with other settings or from another file, and `overwrite` is not given.
    """
    needed = intervals_of(segments, settings.margin)
    jobs: list[Job] = []
    conflicts: list[str] = []
    missing: dict[str, int] = {}
    kept = kept_bytes = 0
    begins = {video_id: min(s.start for s in listed) for video_id, listed in group_by_video(segments).items()}
    for video_id, intervals in needed.items():
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
        merged = tuple(merge_intervals([*intervals, *there]))
        jobs.append(Job(root.path, video_id, modality, merged, settings, begins[video_id]))
    if conflicts:
        lines = "\n".join(conflicts)
        raise DataError(f"existing entries differ in settings or source; delete them or use --overwrite:\n{lines}")
    jobs.sort(key=lambda job: -job.seconds)  # the longest first: no core waits for one at the end
    bare = intervals_of(segments, 0.0)
    return Plan(modality, jobs, kept, kept_bytes, missing, _seconds(bare), _seconds(needed))


def make_plans(
    root: DataRoot, segments: Sequence[Segment], settings: Mapping[str, Settings], overwrite: bool = False
) -> list[Plan]:
    """Plan several modalities; see `make_plan`.

    Args:
        root: the data root.
        segments: what the store shall hold.
        settings: how pictures are stored, by modality.
        overwrite: replace entries made with other settings or from another file.

    Returns:
        A plan per modality.

    Raises:
        DataError: as `make_plan`, of all modalities at once.
    """
    plans, problems = [], []
    for modality, chosen in settings.items():
        try:
            plans.append(make_plan(root, segments, modality, chosen, overwrite))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    return plans


def _seconds(found: dict[str, list[Interval]]) -> float:
    return sum(stop - start for intervals in found.values() for start, stop in intervals)


def _sampled(jobs: Sequence[Job]) -> list[tuple[Job, Interval]]:
    """Up to `SAMPLES` intervals, spread evenly over all videos."""
    every = [(job, interval) for job in sorted(jobs, key=lambda job: job.video_id) for interval in job.intervals]
    count = min(SAMPLES, len(every))
    return [every[(2 * number + 1) * len(every) // (2 * count)] for number in range(count)]


def measured_rate(jobs: Sequence[Job]) -> Measured:
    """Encode the middle of some intervals as the store will hold it, to know what the whole takes.

    Args:
        jobs: what is to be done.

    Returns:
        Bytes per second of video. An original that cannot be read there is left out; preparing it will say why.
    """
    size = seconds = 0.0
    problems: list[str] = []
    videos: list[str] = []
    for job, interval in _sampled(jobs):
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
    last = last_time(source.note["duration"], source.note["fps"])
    start, stop = max(interval[0], source.note.get("first", 0.0)), min(interval[1], last)
    begin = min(max(start, (start + stop - SAMPLE_SECONDS) / 2), last)
    pictures = source.pictures(begin, max(begin, min(begin + SAMPLE_SECONDS, stop)))
    packets, stamps, end = encode(pictures, job.settings.crf, source.note)
    source.close()
    numerator, denominator = source.note["tick"]
    return sum(len(data) for _, data, _ in packets), (end - stamps[0]) * numerator / denominator


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
