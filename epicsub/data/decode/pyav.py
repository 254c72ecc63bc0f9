"""Reading a video through PyAV, which brings its own FFmpeg: one thread, one seek where it pays.

Ticks are the stream's unit of time (`time_base` seconds each). A time becomes a limit in ticks, and its frame
is the last one with a timestamp up to the limit; to know that it is the last, the decoder stays one frame ahead.

Most H.264 files hold pictures from which no other is predicted (half of them with x264's defaults). Those that are not
asked for are not decoded, which changes nothing in the others. Where such a picture turns out to have been the one on
show (frames at uneven intervals), the place is decoded again without leaving any out.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from epicsub.data.decode import HALF_MILLISECOND, VideoFile, copy_pixels
from epicsub.data.decode.facts import facts_of
from epicsub.data.decode.sequence import Sequence
from epicsub.errors import DataError

LUMA_FORMATS = ("yuv420p", "yuvj420p", "gray", "nv12", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
EDGE_FRAMES = 2  # frame durations before the first and after the last picture for which these still stand
UPRIGHT = (1 << 16, 0, 0, 1 << 16)  # of a display matrix that neither turns nor mirrors


class PyavReader(VideoFile):
    """One open video file. Not shared between threads or processes."""

    def __init__(self, path: Path, gray: bool = False) -> None:
        """Open a video file.

        Args:
            path: the file.
            gray: frames are the stored luma plane.

        Raises:
            DataError: FFmpeg cannot open it, or it holds no video that can be read.
        """
        self.path = path
        self.gray = gray
        facts = facts_of(path)
        self._frames = Sequence(path, facts)
        video = self._frames.video
        self.fps = float(video.rate)
        self.width, self.height = video.stream.width, video.stream.height
        self.tick = video.tick  # seconds
        self.start = facts.start  # timestamp of second 0, in ticks
        self.duration = facts.stated
        late = facts.first - facts.start > EDGE_FRAMES * video.frame
        self.readable_from = self._frames.seconds(facts.first) if late else 0.0
        self.readable_to = self._frames.seconds(facts.end)
        self._ticks_per_frame = video.frame
        self._reformatter = VideoReformatter()
        self._current: VideoFrame | None = None  # the frame at the position, and the one after it
        self._upcoming: VideoFrame | None = None

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C = 3; (T, H, W) with `gray`.

        Raises:
            ValueError: a time is negative or not finite.
            DataError: the video is damaged, or does not reach from the first to the last of the times.
        """
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not np.isfinite(times).all() or (times < 0).any():
            raise ValueError(f"times: finite seconds from 0 in one dimension, got {times}")
        out = np.empty((len(times), self.height, self.width, *(() if self.gray else (3,))), np.uint8)
        order = np.argsort(times, kind="stable")
        self._frames.limits = [self._limit(float(times[row])) for row in order]
        last_frame, last_row = None, -1
        for row in order:
            frame = self._frame_at(float(times[row]))
            if frame is last_frame:
                out[row] = out[last_row]
            else:
                self._write(frame, out[row])
                last_frame, last_row = frame, row
        return torch.from_numpy(out)

    @property
    def keyframes_lie(self) -> bool:
        """True if a keyframe of the container was found that does not decode on its own."""
        return self._frames.flags_lie

    def shown_at(self, time: float) -> float:
        """See `TimedReader.shown_at`.

        Args:
            time: seconds.

        Returns:
            Seconds.
        """
        self._frames.limits = [self._limit(time)]
        return self._frames.seconds(self._frames.ticks(self._frame_at(time)))

    def frames_between(self, start: float, stop: float) -> Iterator[tuple[int, int, VideoFrame]]:
        """Decode every frame from the one on show at one time to the one on show at another.

        Args:
            start: seconds.
            stop: seconds, from `start`.

        Yields:
            The time from which the frame is shown, in ticks; the following frame's (after the last, up to when it may
            be shown); and the frame as decoded.

        Raises:
            DataError: as `frames_at`.
        """
        self._frames.limits = []
        limit, frame = self._limit(stop), self._frame_at(start)
        shown = min(self._frames.ticks(frame), self._limit(start))  # the first of a file also stands for what is before
        while self._upcoming is not None and (following := self._frames.ticks(self._upcoming)) <= limit:
            yield shown, following, frame
            shown, frame, self._current = following, self._upcoming, self._upcoming
            self._upcoming = self._next()
        frame = self._frame_at(stop)
        yield (
            shown,
            shown + EDGE_FRAMES * self._ticks_per_frame
            if self._upcoming is None
            else self._frames.ticks(self._upcoming),
            frame,
        )

    def close(self) -> None:
        """Close the file."""
        self._current = self._upcoming = None
        self._frames.close()

    def _limit(self, time: float) -> int:
        return self.start + math.floor((time + HALF_MILLISECOND) / self.tick)

    def _frame_at(self, time: float) -> VideoFrame:
        limit, frames = self._limit(time), self._frames
        if self._current is None or limit < frames.ticks(self._current) or self._pays(limit):
            self._seek(limit, time)
        self._advance(limit)
        assert self._current is not None
        if frames.disordered or any(frames.ticks(self._current) < pts <= limit for pts in frames.skipped):
            frames.limits = []
            self._seek(limit, time)
            self._advance(limit)
        frames.skipped = [pts for pts in frames.skipped if pts > limit]
        shown, edge = frames.ticks(self._current), EDGE_FRAMES * self._ticks_per_frame
        if self._upcoming is None and limit >= shown + edge:
            raise self._ends_before(time, frames.seconds(shown))
        if limit < shown - edge:
            raise self._begins_after(time, frames.seconds(shown))
        side_data: Any = self._current.side_data  # its type does not say what it maps
        if (matrix := side_data.get(Type.DISPLAYMATRIX)) is not None:
            self._check_upright(struct.unpack("=9i", bytes(matrix)))
        return self._current

    def _advance(self, limit: int) -> None:
        while self._upcoming is not None and self._frames.ticks(self._upcoming) <= limit:
            self._current, self._upcoming = self._upcoming, self._next()

    def _pays(self, limit: int) -> bool:
        return self._upcoming is not None and self._frames.pays(self._frames.ticks(self._upcoming), limit)

    def _seek(self, limit: int, time: float) -> None:
        self._frames.seek(limit)
        self._current = None
        self._current, self._upcoming = self._next(), self._next()
        if self._current is None:
            raise self._error(
                f"no frame decodes from {time:.3f} s on, the video should last {self.duration:.3f} s: cut off or "
                "damaged, fetch it again"
            )

    def _next(self) -> VideoFrame | None:
        try:
            frame = self._frames.next()
            if frame is not None and (frame.width, frame.height) != (self.width, self.height):
                size = f"{self.width}x{self.height} to {frame.width}x{frame.height}"
                raise self._error(f"changes its size from {size}: write it anew in one size, with ffmpeg -i IN OUT.mp4")
            return frame
        except DataError:
            self._current = None  # the next call starts with a seek
            raise

    def _check_upright(self, matrix: tuple[int, ...]) -> None:
        turns = (matrix[0], matrix[1], matrix[3], matrix[4])
        if any(abs(value - upright) > 1 for value, upright in zip(turns, UPRIGHT, strict=True)):
            mirrored = turns[0] * turns[3] - turns[1] * turns[2] < 0
            degrees = -math.degrees(math.atan2(turns[1], turns[0]))
            raise self._rotated(degrees, mirrored)

    def _write(self, frame: VideoFrame, out: np.ndarray) -> None:
        """Put the frame's pixels into `out`, (H, W, 3) or (H, W)."""
        if self.gray and frame.format.name not in LUMA_FORMATS:
            raise self._error(
                f"stored as {frame.format.name}, whose luma is not 8 bits a pixel in a plane of its own: write it "
                "anew, with ffmpeg -i IN -pix_fmt yuv420p OUT.mp4"
            )
        copy_pixels(frame, self._reformatter, out)
