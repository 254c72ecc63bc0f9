"""What all readers of videos share: their interface, their tolerance in time, and H.264 without decoding.

Times are seconds after the start of the video stream. The frame at `t` is the one on show then: the last whose
timestamp is at most `t` plus half a millisecond, which absorbs the rounding of containers that count milliseconds.
Frame numbers play no part, because the organisers' numbers are not those of the files (59.94 fps files are numbered
at 60 per second, 29.97, 47.95 and 90 fps files too).

Shape legend: T times, H height, W width, C channels.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from epicsub.errors import DataError

HALF_MILLISECOND = 0.0005
START_CODE = b"\0\0\1"


class FrameReader(Protocol):
    """Reads one video. `duration` in seconds and `fps` are what the file states, `width` and `height` are pixels."""

    duration: float
    fps: float
    width: int
    height: int

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Decode the frames on show at some times.

        Args:
            times: (T,) float64 seconds in any order; up to two frame durations past the last frame give that frame.

        Returns:
            uint8 (T, H, W, C), or (T, H, W) for a luma plane.

        Raises:
            DataError: the video is damaged, or ends before one of the times.
        """

    def close(self) -> None:
        """Close the file."""


class VideoFile:
    """Base of the readers of video files: errors that name the file, in the same words."""

    path: Path
    duration: float

    def _error(self, text: str) -> DataError:
        return DataError(f"{self.path}: {text}")

    def _not_opened(self, reason: str) -> DataError:
        return self._error(f"cannot be opened as a video ({reason}): cut off or damaged, fetch it again")

    def _not_decoded(self, reason: str, after: str = "") -> DataError:
        return self._error(f"decoding fails{after} ({reason}): damaged, fetch it again")

    def _ends_before(self, time: float, end: float) -> DataError:
        """No frame for `time`: the last one is at `end`, both in seconds."""
        return self._error(
            f"the last frame that decodes is at {end:.3f} s, a frame at {time:.3f} s was asked for and the header says "
            f"the video lasts {self.duration:.3f} s: cut off or damaged, fetch it again"
        )

    def _rotated(self, degrees: float) -> DataError:
        """Rotation flags are refused, because some decoders follow them and some do not."""
        return self._error(
            f"carries a flag that turns its pictures by {degrees:g} degrees, which decoders treat differently: write "
            "them turned for good, with ffmpeg -i IN OUT"
        )


def open_container(path: Path) -> InputContainer:
    """Open a video file with FFmpeg.

    Args:
        path: the file.

    Returns:
        The file, whose tags may be in any encoding: nothing depends on them.

    Raises:
        av.error.FFmpegError: it is missing or no video.
    """
    return av.open(str(path), metadata_errors="replace")


def last_time(duration: float, fps: float) -> float:
    """Give the latest time that is asked of a video.

    Args:
        duration: seconds.
        fps: frames per second.

    Returns:
        Half a frame before the end, in seconds.
    """
    return max(0.0, duration - 0.5 / fps)


def first_line(error: Exception) -> str:
    """Shorten an error raised by a library.

    Args:
        error: the error.

    Returns:
        First line of its message that is not empty, or the name of its type.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def copy_pixels(frame: VideoFrame, reformatter: VideoReformatter, out: np.ndarray) -> None:
    """Write the pixels of a frame.

    Args:
        frame: of the size of `out`.
        reformatter: to be used again for the next frame.
        out: uint8 (H, W, 3) for colours, (H, W) for the luma plane as stored.
    """
    if out.ndim == 3:
        frame = reformatter.reformat(frame, format="rgb24", threads=1)
    pixels: Any = frame.planes[0]  # a buffer, which its type does not say
    rows = np.frombuffer(pixels, np.uint8).reshape(-1, frame.planes[0].line_size)  # lines are padded to line_size
    height, width = out.shape[0], out[0].size
    out.reshape(height, width)[:] = rows[:height, :width]


def length_size(context: VideoCodecContext) -> int | None:
    """Tell how the units of H.264 packets are separated.

    Args:
        context: of the stream.

    Returns:
        Bytes of the length before each unit, 0 for start codes, None if the stream is not H.264.
    """
    if context.name != "h264":
        return None
    extra = context.extradata or b""
    return (extra[4] & 3) + 1 if len(extra) > 4 and extra[0] == 1 else 0


def has_reference_slice(picture: memoryview | bytes, size: int) -> bool:
    """Tell from nal_ref_idc of its first slice (H.264, 7.4.1) if others may be predicted from a picture.

    Args:
        picture: a packet.
        size: see `length_size`.

    Returns:
        False if no other picture is predicted from it.
    """
    view = memoryview(picture)
    for position in _units(view, size):
        if view[position] & 31 in (1, 5):
            return view[position] >> 5 & 3 != 0
    return True


def _units(view: memoryview, size: int) -> Iterator[int]:
    """Position of each unit's first byte."""
    position = 0
    if size:
        while position + size < len(view):
            yield position + size
            position += size + int.from_bytes(view[position : position + size], "big")
        return
    data = bytes(view)
    position = data.find(START_CODE)
    while 0 <= position < len(data) - 3:
        yield position + 3
        position = data.find(START_CODE, position + 3)
