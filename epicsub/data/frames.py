"""Reading the organisers' extracted frames, as folders or as the tar files they are published in.

Their numbers count 60 frames per second for the 2018 videos (PXX_YY) and 50 for the 2020 ones (PXX_1YY), whatever the
video's own rate. Flow was computed at every second frame of the former and every frame of the latter; of an RGB frame
n counted from 0, the flow picture is n // stride. The folder shows if files count from 0 or from 1.

A damaged JPEG picture is refused: what OpenCV makes up for it is never handed on.

Shape legend: T times, H height, W width, C 3 (red, green, blue) or 2 (u, v).
"""

import os
import re
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch

from epicsub.data.decode import HALF_MILLISECOND, VideoFile
from epicsub.errors import DataError
from epicsub.io.files import may_be_file, os_reason
from epicsub.modality import video_modality

WARNINGS = (b"JPEG", b"JFIF", b"Adobe color", b"progression sequence")  # libjpeg's jerror.h, JWRN_
SCAN, END, TABLES, BASELINE = 0xDA, b"\xff\xd9", 0xC4, (0xC0, 0xC1)
HOLE = bytes(64)  # of a file copied in part; disks and networks lose 512 bytes and more at a time


def decode_jpeg(data: bytes, mode: int) -> np.ndarray | None:
    """Decode a picture.

    Args:
        data: of the file.
        mode: OpenCV's IMREAD flag.

    Returns:
        The picture as OpenCV gives it; None if there is none in `data`, or a part of it is damaged.
    """
    image: np.ndarray | None = None
    with suppress(cv2.error), _Warnings() as warnings:  # an error: no bytes at all
        image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    return image if not warnings.of_jpeg and _is_whole(data) else None


def _is_whole(data: bytes) -> bool:
    """False for a JPEG whose coded picture lacks its end, or has a hole that decoders take for a picture.

    Zeros for long are codes of a plain picture where the shortest code for brightness is "end of block", or a
    progressive one; else they would be the same wave in block after block, which no encoder writes.
    """
    position, first_symbol, baseline = 2, 0, False
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != SCAN:
        kind, size = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if kind == TABLES:
            first_symbol = _first_symbol(data[position + 4 : position + 2 + size]) or first_symbol
        baseline = baseline or kind in BASELINE
        position += 2 + size
    hole = baseline and first_symbol != 0 and data.find(HOLE, position) >= 0
    return data.find(END, position) > 0 and not hole


def _first_symbol(tables: bytes) -> int:
    """Of the code of zeros in the table of brightness, class AC, number 0 (JPEG, B.2.4.2); 0 if it is not there."""
    while len(tables) > 17:
        if tables[0] == 0x10:
            return tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return 0


class _Warnings:
    """What libjpeg warns of inside a `with`: damage that it makes up pictures for, which OpenCV hands on as good.

    It writes to the C library's standard error and nowhere else, so that is led into a file meanwhile; what others
    write there is passed on. Four calls of the system, microseconds next to a picture's millisecond.
    """

    of_jpeg = False
    _lock = threading.Lock()  # standard error belongs to the process

    def __enter__(self) -> "_Warnings":
        self._lock.acquire()
        self._kept = -1
        with suppress(OSError):  # a process without standard error
            self._kept = os.dup(2)
            self._file = tempfile.TemporaryFile(buffering=0)
            os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._kept >= 0:
                os.dup2(self._kept, 2)
                os.close(self._kept)
                self._read()
        finally:
            self._lock.release()

    def _read(self) -> None:
        if os.fstat(self._file.fileno()).st_size:
            self._file.seek(0)
            lines = self._file.read().splitlines(keepends=True)
            self.of_jpeg = any(word in line for line in lines for word in WARNINGS)
            if others := [line for line in lines if not any(word in line for word in WARNINGS)]:
                os.write(2, b"".join(others))
        self._file.close()


FRAME_FILE = re.compile(r"frame_(\d+)\.jpe?g", re.IGNORECASE)
_Location = Path | tuple[int, int]  # a file, or offset and size in the tar


def index_rate(video_id: str) -> int:
    """Frames per second of the organisers' frame numbers.

    Args:
        video_id: like P01_01 or P01_101.

    Returns:
        50 for PXX_1YY, else 60.
    """
    return 50 if re.fullmatch(r"P\d+_1\d\d", video_id) else 60


def index_stride(video_id: str, modality: str) -> int:
    """Give the step between the organisers' extracted frames.

    Args:
        video_id: like P01_01 or P01_101.
        modality: name.

    Returns:
        RGB frames from one to the next; of flow, 1 for PXX_1YY, else 2.
    """
    return 1 if index_rate(video_id) == 50 else video_modality(modality).frame_stride_2018


class ExtractedFrames(VideoFile):
    """One video's extracted frames, with the interface of `FrameReader`."""

    def __init__(self, path: Path, video_id: str, modality: str) -> None:
        """List the frames.

        Args:
            path: folder or tar file.
            video_id: which decides the frame rate.
            modality: name.

        Raises:
            DataError: it cannot be read, holds no frames, or numbers them from neither 0 nor 1.
        """
        self.path = path
        self._row = video_modality(modality)
        self.fps = index_rate(video_id) / index_stride(video_id, modality)
        self._channels = self._row.gray_channels or ("",)  # folders; one without a name holds color pictures
        try:
            self._tar = path.open("rb") if may_be_file(path) else None
            listed = list(self._list())
        except OSError as error:
            raise self._error(f"cannot be read: {os_reason(error, path)}") from None
        places: dict[str, dict[int, _Location]] = {channel: {} for channel in self._channels}
        for channel, number, place in listed:
            places[channel][number] = place
        self._places = places
        empty = [channel or "frames" for channel, found in places.items() if not found]
        if empty:
            raise self._error(f"holds no {' and no '.join(empty)} (frame_0000000001.jpg ... are expected)")
        self._base = min(min(found) for found in places.values())
        if self._base > 1:
            raise self._error(f"begins with frame {self._base}, not 0 or 1: unpack it again")
        self._count = max(max(found) for found in places.values()) - self._base + 1
        self.duration = self._count / self.fps
        self.height, self.width = self._image(0).shape[:2]

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C as the modality has.

        Raises:
            DataError: the frames end before a time, or one is missing, damaged or of another size.
        """
        indices = np.floor((np.asarray(times, np.float64) + HALF_MILLISECOND) * self.fps).astype(np.int64)
        if len(indices) and indices.max() > self._count:  # up to two frame durations past the last one's time
            raise self._error(
                f"its {self._count} frames end at {self.duration:.3f} s, a frame at {np.max(times):.3f} s was asked "
                "for: fetch or make them again"
            )
        out = np.empty((len(indices), self.height, self.width, self._row.channels), np.uint8)
        images: dict[int, np.ndarray] = {}
        for row, index in enumerate(np.minimum(indices, self._count - 1).tolist()):
            if index not in images:
                images[index] = self._image(index)
                if images[index].shape != out.shape[1:]:
                    raise self._error(
                        f"frame {index + self._base} has another size than the first: fetch or make them again"
                    )
            out[row] = images[index]
        return torch.from_numpy(out)

    def holes(self) -> list[int]:
        """List the missing frames.

        Returns:
            Numbers, as files have them, that any channel lacks between the first and the last frame.
        """
        every = set(range(self._base, self._base + self._count))
        return sorted(set().union(*(every - found.keys() for found in self._places.values())))

    def close(self) -> None:
        """Close the tar file."""
        if self._tar is not None:
            self._tar.close()

    def _image(self, index: int) -> np.ndarray:
        """(H, W, C) of one frame, counted from 0."""
        if self._row.is_color:
            image_HW3: np.ndarray = cv2.cvtColor(self._decode("", index, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            return image_HW3
        return np.stack([self._decode(channel, index, cv2.IMREAD_GRAYSCALE) for channel in self._channels], axis=-1)

    def _decode(self, channel: str, index: int, mode: int) -> np.ndarray:
        number = index + self._base
        name = f"{channel}/frame_{number:010d}.jpg".lstrip("/")
        place = self._places[channel].get(number)
        if place is None:
            raise self._error(f"lacks {name}, one of {self._count} from its first to its last: unpack it again")
        try:
            data = self._bytes(place)
        except OSError as error:
            where = place if isinstance(place, Path) else self.path
            raise DataError(f"{where}: cannot be read: {os_reason(error, where)}") from None
        image = decode_jpeg(data, mode)
        if image is None:
            raise self._error(f"{name} is no readable JPEG: damaged, unpack or fetch it again")
        return image

    def _bytes(self, place: _Location) -> bytes:
        if isinstance(place, Path):
            return place.read_bytes()
        assert self._tar is not None
        offset, size = place
        self._tar.seek(offset)
        return self._tar.read(size)

    def _list(self) -> Iterator[tuple[str, int, _Location]]:
        """Channel, number and place of every frame; other files are ignored."""
        for name, place in self._members() if self._tar is not None else self._files():
            match = FRAME_FILE.fullmatch(name.name)
            channel = "" if self._row.is_color else name.parent.name
            if match and channel in self._channels:
                yield channel, int(match[1]), place

    def _files(self) -> Iterator[tuple[PurePosixPath, _Location]]:
        for channel in self._channels:
            folder = self.path / channel
            if folder.is_dir():
                for file in folder.iterdir():
                    yield PurePosixPath(file.as_posix()), file

    def _members(self) -> Iterator[tuple[PurePosixPath, _Location]]:
        try:
            with tarfile.open(fileobj=self._tar, mode="r:") as archive:
                for member in archive:
                    if member.isfile():
                        yield PurePosixPath(member.name), (member.offset_data, member.size)
        except tarfile.TarError:
            raise self._error("is not a whole tar file: fetch it again") from None
