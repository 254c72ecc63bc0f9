"""The prepared store: which videos it holds, and whether a run reads it.

`P01_01.h264` holds one H.264 picture after another (Annex B; any player shows it). Every eighth is a keyframe, and the
seven between are predicted from the keyframes on both sides and nothing else: a frame costs at most three pictures to
decode, and the keyframes between frames are shared. Of 16 frames over 2 s at 59.94 fps that makes 30 pictures where a
plain chain of eight makes 71, in half its bytes (measured, crf 23).

`P01_01.index` says where each lies: a line of JSON, then a table of `PACKET` rows in decoding order. It is written
whole and last: without it there is no entry. Timestamps are the original's, in its own ticks (seconds = tick * pts).

A run reads one modality from the store or from the originals, never from both: pictures of the store have been through
the codec again.
"""

import bisect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from epicsub.data.annotations import Segment
from epicsub.data.decode import HALF_MILLISECOND, last_time
from epicsub.data.root import DataRoot, group_by_video
from epicsub.errors import DataError
from epicsub.io.files import check_readable
from epicsub.modality import MODALITIES
from epicsub.text import counted

FORMAT = 1
KEY, REFERENCE = 1, 2  # flags: decoding can begin here; other pictures are predicted from this one
PACKET = np.dtype([("pts", "<i8"), ("position", "<i8"), ("size", "<u4"), ("crc", "<u4"), ("flags", "<u4")])
STORES = ("auto", "original", "prepared")
SHOWN = 5


class Stretch(NamedTuple):
    """What is encoded in one go, without a gap; the next one may begin where it ends."""

    first: int  # timestamp of the first frame
    end: int  # timestamp of the frame that follows the last one in the original
    row: int  # first row of the table
    rows: int


@dataclass(frozen=True)
class Index:
    """An index file, without its table, which stays on the disk."""

    path: Path
    note: dict[str, Any]
    table_at: int  # byte at which the table begins

    @cached_property
    def stretches(self) -> list[Stretch]:
        """In order of time."""
        return [Stretch(*values) for values in self.note["stretches"]]

    @cached_property
    def firsts(self) -> list[int]:
        """The first timestamp of each stretch."""
        return [stretch.first for stretch in self.stretches]

    @cached_property
    def tick(self) -> Fraction:
        """Seconds of a tick."""
        return Fraction(*self.note["tick"])

    @cached_property
    def _seconds(self) -> float:
        return float(self.tick)

    @property
    def start(self) -> int:
        """Timestamp of the original's first frame."""
        return int(self.note["start"])

    def ticks_at(self, time: float) -> int:
        """Convert a time to a timestamp.

        Args:
            time: seconds after the original's first frame.

        Returns:
            The last tick that counts as this time; see `decode.base`.
        """
        return self.start + math.floor((time + HALF_MILLISECOND) / self._seconds)

    def covers(self, start: float, stop: float) -> bool:
        """Check an interval.

        Args:
            start: seconds.
            stop: seconds.

        Returns:
            True where every frame on show in between is stored.
        """
        begin = float(self.note.get("first", 0.0))
        end_time = last_time(float(self.note["duration"]), float(self.note["fps"]))
        first, last = (self.ticks_at(min(max(begin, time), end_time)) for time in (start, stop))
        place = bisect.bisect_right(self.firsts, first) - 1
        if place < 0:
            return False
        end = self.stretches[place].end
        for stretch in self.stretches[place + 1 :]:
            if last < end or stretch.first > end:
                break
            end = stretch.end
        return last < end

    def packets(self, stretch: Stretch) -> np.ndarray:
        """Read a part of the table.

        Args:
            stretch: one of `stretches`.

        Returns:
            Its rows (PACKET), in decoding order.
        """
        with open(self.path, "rb") as handle:
            handle.seek(self.table_at + stretch.row * PACKET.itemsize)
            return np.frombuffer(handle.read(stretch.rows * PACKET.itemsize), PACKET)


def read_index(path: Path) -> Index | None:
    """Read the index of an entry.

    Args:
        path: the index.

    Returns:
        The index, or None where the entry is incomplete.
    """
    try:
        with open(path, "rb") as handle:
            line = handle.readline()
        index = Index(path, json.loads(line), len(line))
        rows = sum(stretch.rows for stretch in index.stretches)
        sizes = (path.stat().st_size, pictures_of(path).stat().st_size)
        expected = (len(line) + rows * PACKET.itemsize, index.note["bytes"])
        return index if index.note["epicsub_prepared"] == FORMAT and sizes == expected else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def why_none(path: Path) -> str:
    """Tell why there is no entry.

    Args:
        path: the index, for which `read_index` gives None.

    Returns:
        The path, and what is wrong with what lies there.
    """
    for file in (path, pictures_of(path)):
        try:
            check_readable(file)
        except DataError as error:
            missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
            return str(path) if missing and file == path else str(error)
    return str(path)


def pictures_of(index_path: Path) -> Path:
    """Name the file of pictures that belongs to an index.

    Args:
        index_path: the index.

    Returns:
        Path of the pictures.
    """
    return index_path.with_suffix(".h264")


Indexes = Mapping[tuple[str, str], Index]
"""By modality and video id."""


@dataclass(frozen=True)
class StoreChoice:
    """Modalities read from the prepared store, a sentence on it for the user, and the indexes of the entries.

    The indexes are read once, here: what reads clips takes them from here, in worker processes too.
    """

    prepared: frozenset[str]
    note: str
    indexes: Indexes = field(default_factory=dict, repr=False)


def choose_store(
    root: DataRoot, segments: Iterable[Segment], modalities: Sequence[str], store: str, known: Indexes | None = None
) -> StoreChoice:
    """Choose what to read for some segments.

    Args:
        root: the data root.
        segments: all segments that a run reads.
        modalities: names of modalities, decided one by one.
        store: "original", "prepared", or "auto": prepared where it is complete for every segment.
        known: indexes that have been read already.

    Returns:
        The choice for all segments.

    Raises:
        ValueError: there is no such `store`.
        DataError: "prepared" is asked for and lacks something; all of it is named.
    """
    if store not in STORES:
        raise ValueError(f"store {store!r}: one of {STORES}")
    segments = list(segments)
    chosen, notes, problems = set(), [], []
    indexes = dict(known or {})
    for modality in modalities:
        lacking, settings = ([], "") if store == "original" else find_incomplete(root, segments, modality, indexes)
        if store != "original" and not lacking:
            chosen.add(modality)
            notes.append(f"{modality} is read from prepared/ ({settings})")
            continue
        some = (root.path / "prepared" / modality).is_dir() and store == "auto"
        notes.append(
            f"{modality} is read from the originals"
            + (f" (prepared/ lacks {counted(len(lacking), 'video', 'videos')})" if some else "")
        )
        problems += lacking[:SHOWN] + [f"... and {len(lacking) - SHOWN} more of {modality}"] * (len(lacking) > SHOWN)
    if store == "prepared" and problems:
        lines = "\n".join(problems)
        raise DataError(f"the prepared store is not complete; `epicsub data prepare` completes it:\n{lines}")
    return StoreChoice(frozenset(chosen), "; ".join(notes), indexes)


def find_incomplete(
    root: DataRoot, segments: Sequence[Segment], modality: str, indexes: dict[tuple[str, str], Index]
) -> tuple[list[str], str]:
    """Find what the prepared store lacks of one modality.

    Args:
        root: the data root.
        segments: what is needed.
        modality: name of the modality.
        indexes: by modality and video id; those that are not there are read and added.

    Returns:
        A line for each video whose entry lacks segments, and the settings that all entries share.
    """
    lines: list[str] = []
    settings: dict[str, str] = {}
    for video_id, needed in group_by_video(segments).items():
        path = root.prepared(video_id, modality)
        index = indexes.get((modality, video_id)) or read_index(path)
        if index is None:
            lines.append(f"{video_id}: no prepared {modality} ({why_none(path)})")
            continue
        indexes[modality, video_id] = index
        side = f"short side {index.note['short_side']}, " if not MODALITIES[modality].keeps_size else ""
        settings.setdefault(f"{side}crf {index.note['crf']}", video_id)
        lacking = [segment.narration_id for segment in needed if not index.covers(segment.start, segment.stop)]
        if lacking:
            lines.append(f"{path}: lacks {counted(len(lacking), 'segment', 'segments')} ({', '.join(lacking[:SHOWN])})")
    if len(settings) > 1:
        lines.append(
            f"prepared with different settings: {', '.join(f'{key} ({video})' for key, video in settings.items())}"
        )
    return lines, next(iter(settings), "")
