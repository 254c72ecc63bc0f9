"""What the prepared store is made from: the pictures of a video, of flow, or of the organisers' extracted frames.

Each source says what the store must know of the original (`note`) and gives the pictures of an interval. Pictures of
rgb are made smaller, flow stays as it is: its grey levels count pixels of its own size.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.reader import open_reader
from epicsub.data.frames import ExtractedFrames
from epicsub.data.prepared.file import Picture
from epicsub.data.root import DataRoot
from epicsub.modality import MODALITIES

FRAMES_AT_ONCE = 64


class VideoSource:
    """A video file, or epicsub's flow file."""

    def __init__(self, path: Path, modality: str, short_side: int) -> None:
        """Open `path`.

        Raises:
            DataError: it is missing or no video.
        """
        row = MODALITIES[modality]
        reader = open_reader(path, "pyav", gray=not row.is_color)
        assert isinstance(reader, PyavReader)
        self._reader = reader
        self._size = stored_size(reader.width, reader.height, None if row.keeps_size else short_side)
        self._reformatter = VideoReformatter()
        self.note = _note(path, reader.tick, reader.start, reader.duration, reader.fps, self._size)

    def pictures(self, start: float, stop: float) -> Iterator[Picture]:
        """From the one on show at `start` seconds to the one at `stop`.

        Raises:
            DataError: the video is damaged, or ends before.
        """
        for pts, following, frame in self._reader.frames_between(start, stop):
            made = self._reformatter.reformat(
                frame,
                *self._size,
                format="yuv420p",
                src_colorspace=frame.colorspace,
                dst_colorspace=frame.colorspace,
                src_color_range=frame.color_range,
                dst_color_range=frame.color_range,
                interpolation=Interpolation.BILINEAR,  # with a wide enough filter: what torch calls antialias
                threads=1,
            )
            yield Picture(pts, following, made)

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


class FrameSource:
    """The organisers' extracted frames of a video, in a folder or a tar."""

    def __init__(self, path: Path, video_id: str, modality: str, short_side: int) -> None:
        """List the frames in `path`.

        Raises:
            DataError: it holds none, or cannot be read.
        """
        self._frames = frames = ExtractedFrames(path, video_id, modality)
        self._row = row = MODALITIES[modality]
        self._rate = Fraction(frames.fps).limit_denominator(1000)
        width = frames.width if row.is_color else row.channels * frames.width
        self._size = stored_size(width, frames.height, None if row.keeps_size else short_side)
        self._reformatter = VideoReformatter()
        self.note = _note(path, 1 / self._rate, 0, frames.duration, frames.fps, self._size)

    def pictures(self, start: float, stop: float) -> Iterator[Picture]:
        """See `VideoSource.pictures`."""
        first, last = (int((time + 0.0005) * self._rate) for time in (start, stop))
        for begin in range(first, last + 1, FRAMES_AT_ONCE):
            numbers = np.arange(begin, min(begin + FRAMES_AT_ONCE, last + 1))
            for number, image in zip(
                numbers.tolist(), self._frames.frames_at(numbers / float(self._rate)).numpy(), strict=True
            ):
                yield Picture(number, number + 1, self._picture(image))

    def close(self) -> None:
        """Let go of the tar."""
        self._frames.close()

    def _picture(self, image: np.ndarray) -> VideoFrame:
        if self._row.is_color:
            frame = VideoFrame.from_ndarray(image, format="rgb24")
            return self._reformatter.reformat(
                frame, *self._size, format="yuv420p", interpolation=Interpolation.BILINEAR, threads=1
            )
        width, height = self._size
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[: image.shape[0], :width] = np.concatenate(np.moveaxis(image, -1, 0), axis=1)[:height]
        frame = VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.color_range = ColorRange.JPEG
        return frame


def open_source(root: DataRoot, video_id: str, modality: str, short_side: int) -> VideoSource | FrameSource:
    """The original that `modality` of a video is read from.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = root.require(video_id, modality)
    if path == root.frames(video_id, modality):
        return FrameSource(path, video_id, modality, short_side)
    return VideoSource(path, modality, short_side)


def source_name(path: Path) -> dict[str, Any]:
    """What an entry remembers its original by."""
    return {"name": path.name, "bytes": path.stat().st_size if path.is_file() else None}


def stored_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Width and height, both even as H.264's chroma needs; never larger than the original."""
    scale = 1.0 if short_side is None else min(1.0, short_side / min(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def _note(path: Path, tick: Fraction, start: int, duration: float, fps: float, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "source": source_name(path),
        "tick": [tick.numerator, tick.denominator],
        "start": start,
        "duration": duration,
        "fps": fps,
        "size": list(size),
    }
