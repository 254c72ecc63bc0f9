"""What all readers of videos share: their interface and their tolerance in time.

Times are seconds after the start of the video stream. The frame at `t` is the one on show then: the last whose
timestamp is at most `t` plus half a millisecond, which absorbs the rounding of containers that count milliseconds.
Frame numbers play no part, because the organisers' numbers are not those of the files (59.94 fps files are numbered
at 60 per second, 29.97, 47.95 and 90 fps files too).

Shape legend: T times, H height, W width, C channels.
"""

from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from epicsub.errors import DataError
from epicsub.io.limits import describe_shortage

HALF_MILLISECOND = 0.0005


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


class TimedReader(FrameReader, Protocol):
    """A reader of a video file, which says which timestamp the frame on show has."""

    def shown_at(self, time: float) -> float:
        """Find the frame on show at a time.

        Args:
            time: seconds.

        Returns:
            Its timestamp, in seconds after the start.

        Raises:
            DataError: as `frames_at`.
        """


class VideoFile:
    """Base of the readers of video files: errors that name the file, in the same words."""

    path: Path
    duration: float

    def _error(self, text: str) -> DataError:
        return DataError(f"{self.path}: {text}")

    def _not_opened(self, reason: str) -> DataError:
        if not self.path.exists():
            return self._error(
                "is there no more: it was moved or deleted, or its disk taken away, while it was read; put it back"
            )
        shortage = describe_shortage(RuntimeError(reason))  # no fault of the file
        return self._error(shortage or f"cannot be opened as a video ({reason}): cut off or damaged, fetch it again")

    def _not_decoded(self, reason: str, after: str = "") -> DataError:
        shortage = describe_shortage(RuntimeError(reason))
        return self._error(shortage or f"decoding fails{after} ({reason}): cut off or damaged, fetch it again")

    def _ends_before(self, time: float, end: float) -> DataError:
        """No frame for `time`: the last one is at `end`, both in seconds."""
        return self._error(
            f"the last frame that decodes is at {end:.3f} s, a frame at {time:.3f} s was asked for and the header says "
            f"the video lasts {self.duration:.3f} s: cut off or damaged, fetch it again"
        )

    def _begins_after(self, time: float, first: float) -> DataError:
        """No frame for `time`: the first one is at `first`, both in seconds."""
        return self._error(
            f"the first frame that decodes is at {first:.3f} s, one at {time:.3f} s was asked for: cut off at its "
            "beginning, fetch it again"
        )

    def _rotated(self, degrees: float, mirrored: bool = False) -> DataError:
        """Rotation flags are refused, because some decoders follow them and some do not."""
        how = "mirrors its pictures" if mirrored else f"turns its pictures by {degrees:g} degrees"
        return self._error(
            f"carries a flag that {how}, which decoders treat differently: write them that way for good, with "
            "ffmpeg -i IN OUT"
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
