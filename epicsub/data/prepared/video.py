"""Reading and writing an entry of the prepared store; of a read, only the needed pictures are decoded."""

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from epicsub.data.decode import copy_pixels
from epicsub.data.prepared import (
    FORMAT,
    KEY,
    PACKET,
    REFERENCE,
    Index,
    Stretch,
    pictures_of,
    read_index,
    why_none,
)
from epicsub.data.prepared.encode import Picture, encode
from epicsub.errors import DataError
from epicsub.io import flush, sync_folder, temporary_beside
from epicsub.io.files import check_readable
from epicsub.text import counted

PICTURES_AT_ONCE = 64
ADVICE = "delete it and run `epicsub data prepare`"


class PreparedVideo:
    """One entry, with the interface of `FrameReader`. Not shared between threads or processes."""

    def __init__(self, path: Path, gray: bool = False, index: Index | None = None) -> None:
        """Open an entry.

        Args:
            path: of its index.
            gray: give frames as the stored luma plane.
            index: what `path` holds, where it has been read already.

        Raises:
            DataError: the entry is incomplete, or the system is Windows.
        """
        if not hasattr(os, "pread"):
            raise DataError("the prepared store is read by pread, which Windows lacks: set data.store=original")
        index = index or read_index(path)
        if index is None:
            raise DataError(f"{why_none(path)}: incomplete cache entry; {ADVICE}")
        check_readable(pictures_of(path))
        self.index = index
        self.gray = gray
        self.duration, self.fps = float(index.note["duration"]), float(index.note["fps"])
        self.width, self.height = index.note["size"]
        self._file = os.open(pictures_of(path), os.O_RDONLY)
        self._decoder = decoder()
        self._reformatter = VideoReformatter()
        self._firsts = np.array(index.firsts)

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Decode the frames on show at these times; see `decode.base.FrameReader`.

        Args:
            times: (T,) seconds after the first frame.

        Returns:
            uint8 (T, H, W, 3), or (T, H, W) with `gray`.

        Raises:
            DataError: the store does not hold one of the times, or is damaged.
        """
        limits = np.array([self.index.ticks_at(time) for time in np.asarray(times, np.float64).tolist()])
        out = self._empty(len(limits))
        numbers = np.searchsorted(self._firsts, limits, side="right") - 1
        for number in np.unique(numbers).tolist():
            rows = np.flatnonzero(numbers == number)
            stretch = self.index.stretches[max(0, number)]
            beyond = rows[(limits[rows] < stretch.first) | (limits[rows] >= stretch.end)]
            if len(beyond):
                raise self._error(
                    f"has no frame for {times[beyond[0]]:.3f} s: prepared for other segments, or with too small a "
                    f"margin around them; {ADVICE}"
                )
            self._fill(stretch, limits[rows], rows, out)
        return torch.from_numpy(out)

    def decode_all(self) -> None:
        """Read and decode every picture of the entry.

        Raises:
            DataError: one is damaged.
        """
        for stretch in self.index.stretches:
            stamps = np.sort(self.index.packets(stretch)["pts"])
            for begin in range(0, len(stamps), PICTURES_AT_ONCE):
                limits = stamps[begin : begin + PICTURES_AT_ONCE]
                self._fill(stretch, limits, np.arange(len(limits)), self._empty(len(limits)))

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _empty(self, count: int) -> np.ndarray:
        return np.empty((count, self.height, self.width, *(() if self.gray else (3,))), np.uint8)

    def _fill(self, stretch: Stretch, limits: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
        """Put the frames on show at `limits` (ticks) into these rows of `out`."""
        try:
            packets = self.index.packets(stretch)
            order = np.argsort(packets["pts"], kind="stable")
            shown = order[np.searchsorted(packets["pts"][order], limits, side="right") - 1]  # places in the table
            pending = {int(packets["pts"][place]): rows[shown == place] for place in np.unique(shown)}
            self._decode(packets, needed_places(packets, shown), pending, out)
        except (av.error.FFmpegError, OSError) as error:
            raise self._error(f"cannot be decoded ({error.strerror}): damaged, {ADVICE}") from None
        if pending:
            raise self._error(f"{counted(len(pending), 'frame does', 'frames do')} not decode: damaged, {ADVICE}")

    def _decode(self, packets: np.ndarray, places: np.ndarray, pending: dict[int, np.ndarray], out: np.ndarray) -> None:
        """Decode the pictures at `places`, write those `pending` (by timestamp) and take them off the list."""
        references = np.cumsum(packets["flags"] & REFERENCE != 0)
        last = -1  # references up to and with the last picture given to the decoder
        data = self._read(packets, places)
        for place, content in zip(places.tolist(), data, strict=True):
            if packets["flags"][place] & KEY and last >= 0 and references[place] != last + 1:
                self._write(self._decoder.decode(None), pending, out)
                self._decoder.flush_buffers()  # a jump: what comes is not predicted from what was
            packet = av.Packet(content)
            packet.pts = int(packets["pts"][place])
            self._write(self._decoder.decode(packet), pending, out)
            last = references[place]
        self._write(self._decoder.decode(None), pending, out)
        self._decoder.flush_buffers()

    def _read(self, packets: np.ndarray, places: np.ndarray) -> list[bytes]:
        """Bytes of each picture, in one read where they lie near each other."""
        begin = int(packets["position"][places[0]])
        end = int(packets["position"][places[-1]]) + int(packets["size"][places[-1]])
        spans = list(zip(packets["position"][places].tolist(), packets["size"][places].tolist(), strict=True))
        if end - begin > 8 * sum(size for _, size in spans):
            pictures = [os.pread(self._file, size, position) for position, size in spans]
        else:
            block = os.pread(self._file, end - begin, begin)
            pictures = [block[position - begin : position - begin + size] for position, size in spans]
        if [zlib.crc32(picture) for picture in pictures] != packets["crc"][places].tolist():
            raise self._error(f"has other bytes than were written: damaged, {ADVICE}")
        return pictures

    def _write(self, frames: list[VideoFrame], pending: dict[int, np.ndarray], out: np.ndarray) -> None:
        for frame in frames:
            rows: Any = pending.pop(frame.pts or 0, None)
            if rows is None:
                continue
            if frame.is_corrupt or (frame.width, frame.height) != (self.width, self.height):
                raise self._error(f"a frame is damaged; {ADVICE}")
            copy_pixels(frame, self._reformatter, out[rows[0]])
            out[rows[1:]] = out[rows[0]]

    def _error(self, text: str) -> DataError:
        return DataError(f"{pictures_of(self.index.path)}: {text}")


def decoder() -> VideoCodecContext:
    """Make a decoder for pictures of the store.

    Returns:
        A decoder in one thread, because the workers of the loader are the parallelism.
    """
    context = av.CodecContext.create("h264", "r")
    context.thread_count = 1
    assert isinstance(context, VideoCodecContext)
    return context


def needed_places(packets: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Find what must be decoded to show some pictures.

    Args:
        packets: rows (PACKET) of a stretch, in decoding order.
        shown: (T,) places in the table.

    Returns:
        Sorted places of these and of all pictures that they are predicted from: from the last keyframe that is not
        shown later, all that others are predicted from, up to the picture.
    """
    reference = np.flatnonzero(packets["flags"] & REFERENCE)
    keys = np.flatnonzero(packets["flags"] & KEY)  # in decoding order, which for keyframes is the order of time
    begin = keys[np.searchsorted(packets["pts"][keys], packets["pts"][shown], side="right") - 1]
    chains = [
        reference[np.searchsorted(reference, first) : np.searchsorted(reference, place)]
        for first, place in zip(begin, shown, strict=True)
    ]
    return np.unique(np.concatenate([shown, *chains]))


def write_entry(path: Path, stretches: Iterable[Iterable[Picture]], crf: int, note: dict[str, Any]) -> int:
    """Encode, read back and only then put in place.

    Args:
        path: the index.
        stretches: pictures in order of time, all yuv420p (or its full-range twin) of one size.
        crf: x264's quality: lower is better and larger.
        note: what the index says beside its own: `tick` [numerator, denominator], `start` (timestamp of the original's
            first frame), `duration` in seconds, `fps`, and how the pictures were made.

    Returns:
        Bytes on the disk.

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
