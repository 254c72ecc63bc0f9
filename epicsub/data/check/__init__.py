"""Annotations against files: what cannot be read, and what is read in an unusual way."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from epicsub.data.annotations import VIDEO_INFO, Segment, VideoInfo
from epicsub.data.check.boxes import BoxesReport, check_boxes
from epicsub.data.check.files import FileReport, FileToCheck, check_file
from epicsub.data.check.memory import memory_of, remember, remembered
from epicsub.data.layout import VideosThere
from epicsub.data.prepared import read_index
from epicsub.data.root import DataRoot, group_by_video
from epicsub.data.sampling import with_context
from epicsub.data.sources import LONGEST_OVERRUN
from epicsub.errors import DataError
from epicsub.io.files import may_be_file, printable
from epicsub.io.shards import Shard, missing_shards, refuse_missing
from epicsub.progress import cores, in_processes, track
from epicsub.text import counted, first_of


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a list, or of one kitchen in it, is here. `read` counts segments that can be read."""

    videos: int
    videos_here: int
    segments: int
    read: int


@dataclass(slots=True)
class DataReport:
    """All that was found."""

    lists: dict[str, Coverage] = field(default_factory=dict)
    kitchens: dict[str, Coverage] = field(default_factory=dict)
    files: list[FileReport] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)  # modality -> ids of videos
    only_stored: dict[str, list[str]] = field(default_factory=dict)  # the same, whole in the prepared store
    unreadable: dict[str, str] = field(default_factory=dict)  # narration id -> why
    overrun: list[str] = field(default_factory=list)  # past the end of the video, or of its row where it is not here
    not_compared: list[str] = field(default_factory=list)  # their video is neither here nor in the table of videos
    short: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)  # begin before an earlier one of their video ends
    unknown_videos: list[str] = field(default_factory=list)  # not in the table of videos
    left_out: int = 0
    skipped: list[str] = field(default_factory=list)  # narration ids that were to be left out
    there: VideosThere = field(default_factory=lambda: VideosThere([], [], []))  # what lies under videos/
    boxes: BoxesReport = field(default_factory=BoxesReport)  # of boxes/
    looked_for: dict[str, str] = field(default_factory=dict)  # modality -> where its first missing video was looked for

    @property
    def broken(self) -> list[FileReport]:
        """Files with problems."""
        return [report for report in self.files if report.problems]

    @property
    def decoders(self) -> dict[str, list[str]]:
        """By decoder that was compared: the files that it reads otherwise than by their timestamps, or not at all."""
        names = dict.fromkeys(name for report in self.files for name in report.decoders)
        return {name: [report.path for report in self.files if report.decoders.get(name)] for name in names}

    @property
    def fine(self) -> bool:
        """Whether every segment that was asked about can be read, and no file is known to be wrong."""
        return not self.unreadable and not self.broken and not self.boxes.problems

    def as_json(self) -> dict[str, Any]:
        """Convert to what `--json` writes.

        Returns:
            Plain values.
        """
        files = [{key: value for key, value in asdict(report).items() if key != "key"} for report in self.files]
        return {
            "fine": self.fine,
            "lists": {name: asdict(coverage) for name, coverage in self.lists.items()},
            "kitchens": {name: asdict(coverage) for name, coverage in self.kitchens.items()},
            "missing_videos": self.missing,
            "videos_in_prepared_store_alone": self.only_stored,
            "unreadable_segments": self.unreadable,
            "overrunning_segments": self.overrun,
            "segments_without_video_end": self.not_compared,
            "short_segments": self.short,
            "overlapping_segments": self.overlapping,
            "videos_not_in_table": self.unknown_videos,
            "left_out": self.left_out,
            "decoders": self.decoders,
            "boxes": self.boxes.as_json(),
            "stray_files": [printable(path) for path in self.there.strays],
            "folders_not_listed": self.there.denied,
            "files": files,
        }


def check_data(
    root: DataRoot,
    lists: Mapping[str, Sequence[Segment]],
    modalities: Sequence[str],
    clip_seconds: float,
    deep: bool = False,
    workers: int | None = None,
    skip: Iterable[str] = (),
    compare: bool = False,
    shard: Shard | None = None,
    merge: int | None = None,
) -> DataReport:
    """Check every file that the lists need.

    Args:
        root: the data root.
        lists: name -> segments.
        modalities: names of modalities.
        clip_seconds: segments shorter than that repeat frames.
        deep: decode every frame; results are kept (see `memory_of`), so that a killed check can resume.
        workers: processes; None for one per core.
        skip: narration ids that are left out.
        compare: read sampled seconds with every decoder that loads, and compare; kept and resumed as `deep`.
        shard: check this share of the videos alone, as if the lists had no others.
        merge: decode nothing, and put the results of so many shares together.

    Returns:
        All that was found.

    Raises:
        DataError: the table of videos or `clip_seconds` is wrong, or shares are missing.
    """
    if not 0 < clip_seconds < float("inf"):
        raise DataError(f"clip_seconds={clip_seconds}: expected seconds of a clip, above 0")
    skipped = set(skip)
    kept = {name: [s for s in segments if s.narration_id not in skipped] for name, segments in lists.items()}
    left_out = sum(len(lists[name]) - len(kept[name]) for name in lists)
    if shard is not None:
        own = set(shard.share(sorted({segment.video_id for segments in kept.values() for segment in segments})))
        kept = {name: [segment for segment in segments if segment.video_id in own] for name, segments in kept.items()}
    every = {segment.narration_id: segment for segments in kept.values() for segment in segments}
    infos = root.video_info() if root.has_video_info() else {}
    by_video = group_by_video(every.values())
    video_ids = sorted(by_video)
    found = DataReport(left_out=left_out, skipped=sorted(skipped))
    found.unknown_videos = [video_id for video_id in video_ids if infos and video_id not in infos]
    here = {m: {v for v in video_ids if root.found(v, m) is not None} for m in modalities}
    found.only_stored = {
        m: [v for v in video_ids if v not in here[m] and _stored(root, v, m, by_video[v])] for m in modalities
    }
    found.missing = {m: [v for v in video_ids if v not in here[m] and v not in found.only_stored[m]] for m in here}
    found.looked_for = {m: root.looked_for(ids[0], m) for m, ids in found.missing.items() if ids}
    found.there = root.videos_there()
    found.boxes = check_boxes(root, video_ids, infos)
    pairs = list(product(video_ids, modalities))
    to_check = [FileToCheck(root.path, v, m, deep, infos.get(v), False, compare) for v, m in pairs if v in here[m]]
    to_check += [
        FileToCheck(root.path, v, m, deep, None, stored=True) for v, m in pairs if may_be_file(root.prepared(v, m))
    ]
    memory = _memory(root, shard) if deep or compare else None
    if merge is not None:
        known = remembered(memory[0]) if memory else {}
        undone = [file.video_id for file in to_check if file.key() not in known]
        refuse_missing(missing_shards(video_ids, undone, merge), merge, f"{root.path}: checked files")
    found.files = sorted(_all(to_check, memory, workers or cores()), key=lambda r: (r.video_id, r.modality, r.path))
    _segments(found, every.values(), clip_seconds, infos)
    found.lists = {name: _coverage(found, segments) for name, segments in kept.items()}
    by_kitchen: dict[str, list[Segment]] = {}
    for segment in every.values():
        by_kitchen.setdefault(segment.participant_id, []).append(segment)
    found.kitchens = {name: _coverage(found, by_kitchen[name]) for name in sorted(by_kitchen)}
    return found


def _stored(root: DataRoot, video_id: str, modality: str, segments: Iterable[Segment]) -> bool:
    """Whether the prepared store holds all of the video's segments."""
    index = read_index(root.prepared(video_id, modality))
    return index is not None and all(index.covers(s.start, s.stop) for s in segments)


def _memory(root: DataRoot, shard: Shard | None) -> tuple[Path, Path] | None:
    """Where results of all shares are read, and where this one's are added; None where there is no place for them."""
    path = memory_of(root)
    if path is None or shard is None:
        return None if path is None else (path, path)
    return path, path.with_name(f"{path.name}.{shard.number}-of-{shard.of}")


def _all(to_check: Sequence[FileToCheck], memory: tuple[Path, Path] | None, workers: int) -> Iterator[FileReport]:
    """Reports on all files; those that take long are kept, and taken from there."""
    deep, known = bool(to_check) and (to_check[0].deep or to_check[0].compare), remembered(memory[0]) if memory else {}
    to_do = []
    for file in to_check:
        if known and (report := known.get(file.key())) is not None:
            yield replace(report, path=file.named)  # as this command calls it
        else:
            to_do.append(file)
    done = len(to_check) - len(to_do)
    with closing(in_processes(check_file, to_do, workers if deep else min(workers, 8))) as reports:
        for report in track(reports, "decoding every frame" if deep else "looking at files", len(to_check), done):
            if memory:
                remember(memory[1], report)
            yield report


def _unreadable(segment: Segment, report: FileReport) -> str:
    """Why a segment cannot be read from a file; empty if it can."""
    if report.problems:
        return f"{report.path}: {report.problems[0]}"
    if segment.start < report.readable_from:
        first = f"the first frame of {report.path} that decodes is at {report.readable_from:.2f} s"
        return f"begins at {segment.start:.2f} s, {first}"
    if report.readable_to and segment.stop > report.readable_to + LONGEST_OVERRUN:
        return f"ends at {segment.stop:.2f} s, {report.path} at {report.readable_to:.2f} s"
    return ""


def _segments(
    found: DataReport, segments: Collection[Segment], clip_seconds: float, infos: Mapping[str, VideoInfo]
) -> None:
    """Which segments cannot be read, run past the end, are short or overlap another one."""
    reports: dict[str, list[FileReport]] = {}
    for report in found.files:
        reports.setdefault(report.video_id, []).append(report)
    gone = {video_id: modality for modality, ids in found.missing.items() for video_id in ids}
    for segment in segments:
        if segment.stop - segment.start < clip_seconds:
            found.short.append(segment.narration_id)
        if segment.video_id in gone:
            found.unreadable[segment.narration_id] = f"no {gone[segment.video_id]} for video {segment.video_id}"
        here = reports.get(segment.video_id, [])
        for report in here if segment.video_id not in gone else ():
            if reason := _unreadable(segment, report):
                found.unreadable[segment.narration_id] = reason
        row = infos.get(segment.video_id)
        end = min((report.duration for report in here if report.duration), default=row.duration if row else None)
        if end is None:
            found.not_compared.append(segment.narration_id)
        elif segment.stop > end and (segment.video_id in gone or segment.narration_id not in found.unreadable):
            found.overrun.append(segment.narration_id)
    for here_too in group_by_video(segments).values():
        latest = 0.0
        for segment in sorted(here_too, key=lambda s: s.start):
            if segment.start < latest:
                found.overlapping.append(segment.narration_id)
            latest = max(latest, segment.stop)


def _coverage(found: DataReport, segments: Sequence[Segment]) -> Coverage:
    videos = Counter(segment.video_id for segment in segments)
    gone = {video_id for ids in found.missing.values() for video_id in ids}
    read = sum(segment.narration_id not in found.unreadable for segment in segments)
    return Coverage(len(videos), len(videos.keys() - gone), len(segments), read)


def lengths_note(root: DataRoot, segments: Iterable[Segment], clip_seconds: float | None) -> str:
    """Count segments shorter than a clip, which repeat frames, and past the end of their video, which are truncated.

    Args:
        root: where `EPIC_100_video_info.csv` lies; without it the ends are not known beforehand, and the note says so.
        segments: of one or several lists.
        clip_seconds: what a dense clip covers, or None where frames are spread over the whole segment.

    Returns:
        One line for the user.

    Raises:
        DataError: `EPIC_100_video_info.csv` is wrong.
    """
    segments = list(segments)
    short = sum(clip_seconds is not None and s.stop - s.start < clip_seconds for s in segments)
    note = f"{counted(len(segments), 'segment', 'segments')}: {short} shorter than a clip (frames repeated), "
    if not root.has_video_info():
        return f"{note}unknown how many truncated at the end of the video (no {VIDEO_INFO})"
    videos = root.video_info()
    past = sum(s.video_id in videos and s.stop > videos[s.video_id].duration for s in segments)
    return f"{note}{past} truncated at the end of the video"


def short_with_context(root: DataRoot, segments: Iterable[Segment], seconds: float, context: float) -> list[Segment]:
    """Lengthen short segments by what is around them.

    Args:
        root: where `EPIC_100_video_info.csv` lies.
        segments: of one or several lists.
        seconds: segments shorter than that are lengthened.
        context: seconds of their video added on each side, at most.

    Returns:
        All segments, in their order.

    Raises:
        DataError: `EPIC_100_video_info.csv` is not there, or lacks videos: it says where they end.
    """
    segments = list(segments)
    videos = root.video_info()
    if unknown := sorted({segment.video_id for segment in segments} - videos.keys()):
        raise DataError(
            f"{root.annotations(VIDEO_INFO)}: lacks {first_of(unknown, 20)}, "
            "so where these videos end is not known: add them, or leave data.context out"
        )
    windows = (with_context(s.start, s.stop, seconds, context, videos[s.video_id].duration) for s in segments)
    return [replace(s, start=start, stop=stop) for s, (start, stop) in zip(segments, windows, strict=True)]
