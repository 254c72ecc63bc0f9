"""From the official pickles, or raw rows of the detector, to one file of boxes a video; a killed run is resumed."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from epicsub.data.annotations import VIDEO_INFO, VideoInfo
from epicsub.data.boxes.detections import Arrays, ArraysBuilder, FrameDetections
from epicsub.data.boxes.official import HEIGHT, WIDTH, parse_frames, read_pickle
from epicsub.data.boxes.rows import read_rows
from epicsub.data.boxes.store import FOLDER, SUFFIX, Note, boxes_path, read_note, write_boxes
from epicsub.data.frames import index_rate
from epicsub.data.layout import VIDEO_ID, participant
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import hold_folder, remove_leftovers
from epicsub.io.files import is_folder, os_reason
from epicsub.progress import cores, in_processes, track
from epicsub.text import counted, name_some

SOURCE_FOLDER = "hand-objects"
OFFICIAL, ROWS = "official", "rows"
_DETECTORS = {".pkl": OFFICIAL, ".npz": ROWS}
MOST_SURPLUS = 30
"""Frames that an official file may have beyond duration x rate; of the real ones all have 3 to 19."""
_EMPTY = FrameDetections((), ())


class Erratum(NamedTuple):
    """A video whose official boxes were made of frames at 60 instead of 50 a second, and put right later."""

    wrong_frames: int
    right_md5: str


ERRATA = {
    "P01_109": Erratum(222_487, "fc9a5f9fb96c3bedbde6d1815bd13b11"),
    "P27_103": Erratum(146_918, "02bb19c91555aa6c0633e3dc1a41768e"),
}
"""Of the readme and the count list of epic-kitchens-100-hand-object-bboxes."""


class BoxesSummary(NamedTuple):
    """Outcome of `convert_boxes`."""

    converted: int
    kept: int
    seconds: float
    notes: list[str]


class _Job(NamedTuple):
    video_id: str
    source: Path
    target: Path
    info: VideoInfo | None


class _Outcome(NamedTuple):
    problem: str = ""
    note: str = ""


def find_sources(folder: Path) -> dict[str, list[Path]]:
    """Find files of boxes, in the layouts of the organisers' page and of their download script.

    Args:
        folder: a data root, the folder hand-objects itself, or what the download script has filled.

    Returns:
        Files by video id: P01/P01_01.pkl or P01/hand-objects/P01_01.pkl, in the folder or in its hand-objects; .npz
        are raw rows.
    """
    found: dict[str, list[Path]] = {}
    for top in (folder, folder / SOURCE_FOLDER):
        kitchens = sorted(path for path in _entries(top) if VIDEO_ID.fullmatch(f"{path.name}_01") and is_folder(path))
        for place in (top, *chain.from_iterable((path, path / SOURCE_FOLDER) for path in kitchens)):
            for path in _entries(place):
                if path.suffix.lower() in _DETECTORS and VIDEO_ID.fullmatch(path.stem) and not is_folder(path):
                    found.setdefault(path.stem, []).append(path)
    return found


def convert_boxes(
    root: DataRoot, folder: Path | None = None, workers: int | None = None, overwrite: bool = False
) -> BoxesSummary:
    """Convert the boxes of all videos that are found; run again after a kill, it resumes.

    What was made of the same file is kept. A video that fails does not keep the others from being done.

    Args:
        root: the data root; boxes/ is written there.
        folder: where the files lie. Default: the root.
        workers: processes, None for one per core.
        overwrite: replace boxes that were made of another file, which is an error otherwise.

    Returns:
        Number of videos converted and kept, seconds taken, what is unusual.

    Raises:
        DataError: before anything is converted: there is no file, two for one video, or boxes of other files; or, when
            all others are done, every video that failed.
    """
    began = time.monotonic()
    place = folder or root.path
    found = find_sources(place)
    if not found:
        raise DataError(
            f"{place}: no boxes such as {SOURCE_FOLDER}/P01/P01_01.pkl or P01/{SOURCE_FOLDER}/P01_01.pkl; name their "
            "folder with --from DIR, or find hands yourself with --detector mediapipe"
        )
    twice = {video_id: paths for video_id, paths in found.items() if len({path.resolve() for path in paths}) > 1}
    if twice:
        lines = [f"{video_id}: {name_some(map(str, paths))}" for video_id, paths in twice.items()]
        raise DataError("\n".join(["several files for one video, keep one of each:", *lines]))
    infos = root.video_info() if root.has_video_info() else {}
    jobs, conflicts = [], []
    for video_id, (source, *_) in sorted(found.items()):
        target = boxes_path(root.path, video_id)
        note = read_note(target)
        if note is not None and note.source.get("name") == source.name and note.source.get("bytes") == _size(source):
            continue
        if note is not None and not overwrite:
            conflicts.append(f"{target}: made of {note.source.get('name')} ({note.source.get('bytes')} bytes)")
        jobs.append(_Job(video_id, source, target, infos.get(video_id)))
    if conflicts:
        raise DataError("\n".join(["there are boxes of other files; ask for --overwrite:", *conflicts]))
    outcomes = run_jobs(root, _try_one, jobs, len(found) - len(jobs), workers, "converting boxes")
    notes = [outcome.note for outcome in outcomes if outcome.note]
    refuse_failed([outcome.problem for outcome in outcomes if outcome.problem], len(found))
    return BoxesSummary(len(jobs), len(found) - len(jobs), time.monotonic() - began, notes)


def run_jobs(root: DataRoot, work: Any, jobs: list[Any], kept: int, workers: int | None, label: str) -> list[Any]:
    """Write files of boxes in processes, while the folder is held.

    Args:
        root: the data root.
        work: from a job to its outcome.
        jobs: what is to be done.
        kept: how many videos are done already.
        workers: processes, None for one per core.
        label: of the progress line.

    Returns:
        The outcomes.

    Raises:
        DataError: another process is writing there.
    """
    if not jobs:
        return []
    top = root.path / FOLDER
    with hold_folder(top):
        remove_leftovers(top.glob("*/.*"), SUFFIX)
        with closing(in_processes(work, jobs, workers or cores())) as outcomes:
            return list(track(outcomes, label, len(jobs) + kept, kept))


def refuse_failed(problems: list[str], videos: int) -> None:
    """Report every video that failed.

    Args:
        problems: a line each.
        videos: how many there were in all.

    Raises:
        DataError: one failed.
    """
    if problems:
        of = counted(videos, "video", "videos")
        first = f"no boxes for {len(problems)} of {of}, the others are done; mend these and run it again:"
        raise DataError("\n".join([first, *sorted(problems)]))


def _try_one(job: _Job) -> _Outcome:
    try:
        return _Outcome(note=_convert(job))
    except DataError as error:
        return _Outcome(problem=str(error) if str(error).startswith(str(job.source)) else f"{job.source}: {error}")


def _convert(job: _Job) -> str:
    """Convert one file; returns what is unusual in it."""
    source: dict[str, Any] = {"name": job.source.name, "bytes": _size(job.source)}
    rate: float = index_rate(job.video_id)
    width, height, absent, notes = WIDTH, HEIGHT, 0, []
    if _DETECTORS[job.source.suffix.lower()] == ROWS:
        rows = read_rows(job.source)
        width, height, rate = rows.width, rows.height, rows.rate or rate
        arrays = _collected(rows.frames)
    else:
        messages = read_pickle(job.source)
        if (erratum := ERRATA.get(job.video_id)) is not None:
            source["md5"] = _md5(job.source)
            _refuse_wrong(job, len(messages), source["md5"], erratum)
        arrays, absent = _placed(job.video_id, messages)
        if absent:
            notes.append(f"lacks {counted(absent, 'frame', 'frames')} between its first and last; they have no box")
    detector = _DETECTORS[job.source.suffix.lower()]
    if problem := count_problem(arrays.frames, rate, job.info):
        notes.append(problem)
    note = Note(detector=detector, source=source, rate=rate, width=width, height=height, absent=absent)
    write_boxes(job.target, arrays, note)
    return f"{job.source}: {'; '.join(notes)}" if notes else ""


def count_problem(frames: int, rate: float, info: VideoInfo | None) -> str:
    """Compare the number of frames with the video's duration.

    Args:
        frames: of the boxes.
        rate: of their numbers, per second.
        info: the video's row of `EPIC_100_video_info.csv`, where there is one.

    Returns:
        What is wrong; empty where they fit.
    """
    if info is None or 0 <= frames - int(info.duration * rate) <= MOST_SURPLUS:
        return ""
    return (
        f"holds {counted(frames, 'frame', 'frames')}, {info.duration:.2f} s ({VIDEO_INFO}) at {rate:g} a second are "
        f"{info.duration * rate:.0f} to {info.duration * rate + MOST_SURPLUS:.0f}: boxes of another recording or rate, "
        "fetch them again"
    )


def _refuse_wrong(job: _Job, frames: int, md5: str, erratum: Erratum) -> None:
    """Refuse the first release's boxes of the two videos whose frames were extracted at the wrong rate."""
    rate = index_rate(job.video_id)
    of_wrong_rate = job.info is not None and frames > job.info.duration * 0.5 * (rate + 60)
    if md5 != erratum.right_md5 and (frames == erratum.wrong_frames or of_wrong_rate):
        raise DataError(
            f"{job.source}: is the wrong file of the first release, of frames at 60 instead of {rate} a second "
            f"({frames} of them, md5 {md5}): fetch the corrected one (md5 {erratum.right_md5}; see the readme of "
            "epic-kitchens-100-hand-object-bboxes)"
        )


def _placed(video_id: str, messages: Iterable[bytes]) -> tuple[Arrays, int]:
    """The frames in their places, and how many between them are lacking."""
    builder, absent = ArraysBuilder(), 0
    for message in parse_frames(messages):
        if message.video_id not in ("", video_id):
            raise DataError(f"holds boxes of {message.video_id}, not of {video_id}: fetch or name it again")
        if not builder.frames < message.number <= 2 * builder.frames + 1000:
            raise DataError(
                f"frame number {message.number} follows {builder.frames}, where they count from 1: damaged, fetch it "
                "again"
            )
        for _ in range(message.number - builder.frames - 1):
            builder.add(_EMPTY)
            absent += 1
        builder.add(message.found)
    if not builder.frames:
        raise DataError("holds no frame: fetch it again")
    return builder.finish(), absent


def _collected(frames: Iterable[FrameDetections]) -> Arrays:
    builder = ArraysBuilder()
    for frame in frames:
        builder.add(frame)
    return builder.finish()


def _entries(folder: Path) -> Iterator[Path]:
    """What lies in a folder; nothing where there is none.

    Raises:
        DataError: it cannot be listed.
    """
    if is_folder(folder):
        try:
            yield from sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        except OSError as error:
            raise DataError(f"{folder}: cannot be listed: {os_reason(error, folder)}") from error


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # its reader says why
        return None


def _md5(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def usual_source(video_id: str) -> str:
    """Name the usual place of a video's official boxes, for messages.

    Args:
        video_id: like P01_01.

    Returns:
        Its path below the data root.
    """
    return f"{SOURCE_FOLDER}/{participant(video_id)}/{video_id}.pkl"
