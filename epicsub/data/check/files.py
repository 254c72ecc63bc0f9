"""Check a video, flow file, folder of extracted frames or prepared entry: is it complete, and does it decode?"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.data.annotations import VIDEO_INFO, VideoInfo
from epicsub.data.decode import FrameReader, last_time
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.reader import compare_decoders, open_reader
from epicsub.data.flow import read_flow_note
from epicsub.data.frames import ExtractedFrames
from epicsub.data.prepared import pictures_of, read_index
from epicsub.data.prepared.video import PreparedVideo
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io.files import os_reason
from epicsub.modality import MODALITIES
from epicsub.text import counted

SHORTER, RATE_OFF = 1.0, 0.02  # seconds; share of the frame rate
UNEVEN = 0.5  # of a frame: steps between frames that differ by more are uneven
# Erratum in the readme of epic-kitchens-100-annotations
BROKEN_FRAMES = ("P01_109", "P27_103")
ERRATUM = (
    "the official release's extracted frames of this video were wrong once (readme of epic-kitchens-100-annotations): "
    "if yours are from before the correction, fetch them again, or read the video instead"
)


@dataclass(frozen=True, slots=True)
class FileToCheck:
    """A file to check, and how thoroughly."""

    root: Path
    video_id: str
    modality: str
    deep: bool
    info: VideoInfo | None
    stored: bool = False  # the entry of the prepared store, not the original
    compare: bool = False  # with every decoder that loads, at sampled seconds

    @property
    def path(self) -> Path | None:
        """What the modality is read from."""
        root = DataRoot(self.root)
        return root.prepared(self.video_id, self.modality) if self.stored else root.found(self.video_id, self.modality)

    @property
    def named(self) -> str:
        """The file that a report is about: of a prepared entry its pictures, which its index only checks."""
        path = self.path
        return str(pictures_of(path) if self.stored and path else path)

    def key(self) -> str:
        """Identify all that a report rests on.

        Returns:
            Text that changes with the file (or any file of a folder of frames), the index of an entry, the video that
            flow was computed from, and the row of the table of videos. Paths in it are relative to the root.
        """
        path = self.path
        files = [path, pictures_of(path) if self.stored and path else None]
        if MODALITIES[self.modality].command and not self.stored:
            files.append(DataRoot(self.root).video(self.video_id))
        states = [f"{file.relative_to(self.root).as_posix()} {_state(file)}" for file in files if file is not None]
        return (
            f"{self.video_id} {self.modality} {'; '.join(states)}; {self.info} deep={self.deep} compare={self.compare}"
        )


@dataclass(frozen=True, slots=True)
class FileReport:
    """`problems` keep segments from being read, or from being read right; `notes` do not. `duration` as decoded."""

    video_id: str
    modality: str
    path: str
    duration: float = 0.0
    fps: float = 0.0
    size: tuple[int, int] = (0, 0)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    readable_from: float = 0.0  # seconds after the start
    readable_to: float = 0.0
    decoders: dict[str, str] = field(default_factory=dict)  # where compared: by name, how it differs from the file
    key: str = ""


def check_file(file: FileToCheck) -> FileReport:
    """Check one file.

    Args:
        file: what to check.

    Returns:
        Its problems and facts; a `DataError` is one of the problems.
    """
    path = file.path
    assert path is not None
    key = file.key()  # before it is read: of what changes meanwhile, nothing is remembered
    problems: list[str] = []
    notes: list[str] = []
    facts: dict[str, Any] = {}
    try:
        if file.stored:
            facts = _entry(file, path, notes)
        elif path.is_dir() or path.suffix == ".tar":
            facts = _frames(file, path, problems, notes)
        else:
            facts = _video(file, path, problems, notes)
    except DataError as error:
        problems.append(str(error).removeprefix(f"{file.named}: "))
    except OSError as error:
        problems.append(f"{error.filename or path}: cannot be read: {os_reason(error)}")
    return FileReport(file.video_id, file.modality, file.named, problems=problems, notes=notes, key=key, **facts)


def _state(path: Path) -> str:
    """Size and date of a file, or a digest of those of every file in a folder."""
    try:
        if not path.is_dir():
            state = path.stat()
            return f"{state.st_size} {state.st_mtime_ns}"
        digest = hashlib.blake2b(digest_size=16)
        for place in sorted(os.scandir(path), key=lambda place: place.name):
            digest.update(f"{place.name} {_state(Path(place.path))}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()
    except OSError:  # gone since it was listed
        return "gone"


def _video(file: FileToCheck, path: Path, problems: list[str], notes: list[str]) -> dict[str, Any]:
    row = MODALITIES[file.modality]
    reader = open_reader(path, "pyav", gray=not row.is_color)
    assert isinstance(reader, PyavReader)
    facts = _facts(reader)
    try:
        end = _every_frame(reader, notes) if file.deep else reader.readable_to
        reader.frames_at(np.array([last_time(reader.duration, reader.fps)]))  # from the last keyframe on
        facts |= {"readable_from": reader.readable_from, "readable_to": end}
        if reader.readable_from:
            notes.append(f"its first {reader.readable_from:.2f} s do not decode: cut off at its beginning")
        if reader.keyframes_lie:
            notes.append("its keyframes do not decode on their own: slow to read until it is encoded anew")
        if file.compare and row.is_color:
            facts["decoders"] = compare_decoders(path)
    except DataError as error:
        problems.append(str(error).removeprefix(f"{path}: "))
        facts["readable_to"] = 0.0
    finally:
        reader.close()
    if row.command:
        _flow_source(file, path, problems)
    elif file.info:
        _against_table(facts, file.info, problems, notes)
    return facts


def _entry(file: FileToCheck, path: Path, notes: list[str]) -> dict[str, Any]:
    """An entry of the prepared store: whole, and with `deep` every picture of it.

    Raises:
        DataError: a picture is damaged.
    """
    index = read_index(path)
    if index is None:
        notes.append("incomplete cache entry, counts as missing: run `epicsub data prepare` again")
        return {}
    reader = PreparedVideo(path, not MODALITIES[file.modality].is_color, index)
    try:
        if file.deep:
            reader.decode_all()
    finally:
        reader.close()
    return _facts(reader)


def _facts(reader: FrameReader) -> dict[str, Any]:
    """Fields of the report on a file that can be read to its end."""
    duration = reader.duration
    return {"duration": duration, "fps": reader.fps, "size": (reader.width, reader.height), "readable_to": duration}


def _every_frame(reader: PyavReader, notes: list[str]) -> float:
    """Decode all of it; returns where it ends."""
    stamps = [pts for pts, _, _ in reader.frames_between(reader.readable_from, last_time(reader.duration, reader.fps))]
    steps = np.diff(stamps)
    typical = np.median(steps) if len(steps) else 0
    if uneven := int((np.abs(steps - typical) > UNEVEN * typical).sum()):
        notes.append(f"{uneven} of {len(stamps)} frames come at uneven intervals; they are read by their timestamps")
    return float((stamps[-1] - reader.start) * reader.tick) + 1 / reader.fps


def _against_table(facts: dict[str, Any], info: VideoInfo, problems: list[str], notes: list[str]) -> None:
    lasts = f"lasts {facts['duration']:.2f} s, {info.duration:.2f} s in {VIDEO_INFO}"
    if facts["duration"] < info.duration - SHORTER:
        problems.append(f"{lasts}: cut off, fetch it again")
    elif facts["duration"] > info.duration + SHORTER:
        problems.append(f"{lasts}: another recording, or a slowed copy, which the segments' times do not fit")
    if abs(facts["fps"] / info.fps - 1) > RATE_OFF:
        notes.append(f"{facts['fps']:.2f} frames per second, {info.fps:.2f} in {VIDEO_INFO}: a re-encoded copy")
    width, height = facts["size"]
    if (width, height) != (info.width, info.height):
        notes.append(f"{width}x{height}, {info.width}x{info.height} in {VIDEO_INFO}: a resized copy")


def _flow_source(file: FileToCheck, path: Path, problems: list[str]) -> None:
    note, video = read_flow_note(path), DataRoot(file.root).video(file.video_id)
    if note is None:
        problems.append("incomplete flow file: run `epicsub data flow` again")
    elif video and note["source"] != {"name": video.name, "bytes": video.stat().st_size}:
        problems.append(f"was computed from another file than {video.name}: run `epicsub data flow --overwrite`")


def _frames(file: FileToCheck, path: Path, problems: list[str], notes: list[str]) -> dict[str, Any]:
    frames = ExtractedFrames(path, file.video_id, file.modality)
    if file.video_id in BROKEN_FRAMES:
        notes.append(ERRATUM)
    if holes := frames.holes():
        problems.append(
            f"lacks {counted(len(holes), 'frame', 'frames')} between its first and last, from number {holes[0]}: "
            "unpack it again"
        )
    if file.info and abs(frames.duration - file.info.duration) > SHORTER:
        expected = round(file.info.duration * frames.fps)
        problems.append(
            f"holds {round(frames.duration * frames.fps)} frames, about {expected} are expected for "
            f"{file.info.duration:.2f} s at {frames.fps:g} a second: fetch or unpack it again"
        )
    try:
        for start in _places(frames, file.deep):
            frames.frames_at(start)
    except DataError as error:
        problems.append(str(error).removeprefix(f"{path}: "))
    finally:
        frames.close()
    return _facts(frames)


def _places(frames: ExtractedFrames, deep: bool) -> Iterator[np.ndarray]:
    """Times to decode: all frames, or the first, middle and last one."""
    count = round(frames.duration * frames.fps)
    if not deep:
        yield np.array([0, count // 2, count - 1]) / frames.fps
        return
    for begin in range(0, count, 64):
        yield np.arange(begin, min(begin + 64, count)) / frames.fps
