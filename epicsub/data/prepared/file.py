"""The prepared store's files: short stretches of a video, small and quick to take frames from.

`P01_01.h264` holds one H.264 picture after another (Annex B; any player shows it). Every eighth is a keyframe, and the
seven between are predicted from the keyframes on both sides and nothing else: a frame costs at most three pictures to
decode, and the keyframes between frames are shared. Of 16 frames over 2 s at 59.94 fps that makes 30 pictures where a
plain chain of eight makes 71, in half its bytes (measured, crf 23).

`P01_01.index` says where each lies: a line of JSON, then a table of `PACKET` rows in decoding order. It is written
whole and last: without it there is no entry. Timestamps are the original's, in its own ticks (seconds = tick * pts).
"""

import bisect
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from epicsub.data.decode.base import HALF_MILLISECOND, has_reference_slice
from epicsub.errors import DataError
from epicsub.io import flush, sync_folder, temporary_beside

FORMAT = 1
KEYFRAME_EVERY = 8
KEY, REFERENCE = 1, 2  # flags: decoding can begin here; other pictures are predicted from this one
PACKET = np.dtype([("pts", "<i8"), ("position", "<i8"), ("size", "<u4"), ("crc", "<u4"), ("flags", "<u4")])
STRUCTURE = (
    f"keyint={KEYFRAME_EVERY}:min-keyint={KEYFRAME_EVERY}:bframes={KEYFRAME_EVERY - 1}:b-adapt=0:b-pyramid=none:"
    "open-gop=1:scenecut=0:ref=1:rc-lookahead=8:sync-lookahead=0"
)


class Picture(NamedTuple):
    """A frame to store, and the timestamps, in ticks, of it and of the frame that follows it in the original."""

    pts: int
    following: int
    frame: VideoFrame


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
        """The last tick that counts as `time` seconds after the original's first frame; see `readers`."""
        return self.start + math.floor((time + HALF_MILLISECOND) / self._seconds)

    def last_time(self) -> float:
        """The latest time that is asked of this video, as of an original: half a frame before its end."""
        return max(0.0, self.note["duration"] - 0.5 / self.note["fps"])

    def covers(self, start: float, stop: float) -> bool:
        """Whether every frame on show from `start` to `stop` seconds is there."""
        first, last = (self.ticks_at(min(max(0.0, time), self.last_time())) for time in (start, stop))
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
        """The rows (PACKET) of a stretch, in decoding order."""
        with open(self.path, "rb") as handle:
            handle.seek(self.table_at + stretch.row * PACKET.itemsize)
            return np.frombuffer(handle.read(stretch.rows * PACKET.itemsize), PACKET)


def read_index(path: Path) -> Index | None:
    """The index of an entry, or None where the entry is incomplete."""
    try:
        with open(path, "rb") as handle:
            line = handle.readline()
        index = Index(path, json.loads(line), len(line))
        rows = sum(stretch.rows for stretch in index.stretches)
        sizes = (path.stat().st_size, pictures_of(path).stat().st_size)
        wanted = (len(line) + rows * PACKET.itemsize, index.note["bytes"])
        return index if index.note["epicsub_prepared"] == FORMAT and sizes == wanted else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pictures_of(index_path: Path) -> Path:
    """The file of pictures that belongs to an index."""
    return index_path.with_suffix(".h264")


def write_entry(path: Path, stretches: Iterable[Iterable[Picture]], crf: int, note: dict[str, Any]) -> int:
    """Encode, read back and only then put in place. Returns the bytes taken.

    Args:
        path: of the index.
        stretches: pictures in order of time, all yuv420p (or its full-range twin) of one size.
        crf: x264's quality: lower is better and larger.
        note: what the index says beside its own: `tick` [numerator, denominator], `start` (timestamp of the original's
            first frame), `duration` in seconds, `fps`, and how the pictures were made.

    Raises:
        DataError: what was written does not read back as it was meant.
        OSError: the disk is full or cannot be written. What was there before is as it was.
    """
    tables: list[np.ndarray] = []
    found: list[Stretch] = []
    size = rows = 0
    with temporary_beside(pictures_of(path)) as all_pictures, temporary_beside(path) as index:
        with open(all_pictures, "wb") as handle:
            for pictures in stretches:
                encoded, stamps, end = encode(pictures, crf, note)
                table = _table(encoded, size)
                size += handle.write(b"".join(data for _, data, _ in encoded))
                handle.flush()
                _read_back(all_pictures, table, stamps)
                found.append(Stretch(stamps[0], end, rows, len(table)))
                rows += len(table)
                tables.append(table)
        content = note | {"epicsub_prepared": FORMAT, "bytes": size, "stretches": found}
        index.write_bytes(json.dumps(content).encode() + b"\n" + b"".join(table.tobytes() for table in tables))
        flush(all_pictures)
        flush(index)
        path.unlink(missing_ok=True)  # the old index does not fit the new pictures
        all_pictures.replace(pictures_of(path))
        index.replace(path)
        sync_folder(path.parent)
    return size + path.stat().st_size


def encode(
    pictures: Iterable[Picture], crf: int, note: dict[str, Any]
) -> tuple[list[tuple[int, bytes, int]], list[int], int]:
    """One stretch -> (timestamp, bytes, flags) in decoding order, the timestamps in order of time, the end."""
    encoder: VideoCodecContext | None = None
    encoded = []
    stamps: list[int] = []
    end = 0
    for pts, following, frame in pictures:
        if encoder is None:
            encoder = _encoder(frame, crf, note)
        frame.pts, frame.time_base, frame.pict_type = pts, encoder.time_base, 0
        encoded += encoder.encode(frame)
        stamps.append(pts)
        end = following
    assert encoder is not None, "a stretch without pictures"
    encoded += encoder.encode(None)
    packets = [(packet.pts or 0, bytes(packet), bool(packet.is_keyframe)) for packet in encoded]
    return (
        [(pts, data, KEY * key | REFERENCE * has_reference_slice(data, 0)) for pts, data, key in packets],
        stamps,
        end,
    )


def decoder() -> VideoCodecContext:
    """For pictures of the store; in one thread, because the loader's workers are the parallelism."""
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    assert isinstance(context, VideoCodecContext)
    return context


def _encoder(frame: VideoFrame, crf: int, note: dict[str, Any]) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base, context.framerate = Fraction(*note["tick"]), Fraction(note["fps"]).limit_denominator(100_000)
    # The decoder turns YUV to RGB by what the stream says of its colours: say what the original said.
    context.color_range, context.colorspace = frame.color_range, frame.colorspace
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    context.thread_count = 1
    # fastdecode: no CABAC, no deblocking; a third less time to decode for a seventh more bytes (measured)
    context.options = {
        "preset": "veryfast", "tune": "fastdecode", "crf": str(crf), "threads": "1", "x264-params": STRUCTURE,
    }  # fmt: skip
    return context


def _table(encoded: list[tuple[int, bytes, int]], position: int) -> np.ndarray:
    table = np.zeros(len(encoded), PACKET)
    for row, (pts, data, flags) in enumerate(encoded):
        table[row] = (pts, position, len(data), zlib.crc32(data), flags)
        position += len(data)
    return table


def _read_back(path: Path, table: np.ndarray, stamps: list[int]) -> None:
    """Decode a stretch from the disk, every frame of it."""
    context = decoder()
    shown: list[VideoFrame] = []
    with open(path, "rb") as handle:
        handle.seek(int(table["position"][0]))
        for row in table:
            packet = av.Packet(handle.read(int(row["size"])))
            packet.pts = int(row["pts"])
            shown += context.decode(packet)
    shown += context.decode(None)
    damaged = any(frame.is_corrupt for frame in shown)
    if damaged or [frame.pts for frame in shown] != stamps:
        raise DataError(
            f"{path}: {len(stamps)} frames were written and {len(shown)} read back"
            f"{', some damaged' if damaged else ', with other timestamps'}: check the disk, then run it again"
        )
