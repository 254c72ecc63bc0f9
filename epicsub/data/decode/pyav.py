"""Reading a video through PyAV, which brings its own FFmpeg: one thread, one seek where it pays.

Ticks are the stream's unit of time (`time_base` seconds each). A time becomes a limit in ticks, and its frame
is the last one with a timestamp up to the limit; to know that it is the last, the decoder stays one frame ahead.

Most H.264 files hold pictures from which no other is predicted (half of them with x264's defaults). Those that are not
asked for are not decoded, which changes nothing in the others. Where such a picture turns out to have been the one on
show (frames at uneven intervals), the place is decoded again without leaving any out.
"""

import bisect
import math
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from epicsub.data.decode.base import (
    HALF_MILLISECOND,
    VideoFile,
    copy_pixels,
    has_reference_slice,
    length_size,
    open_container,
)

LUMA_FORMATS = ("yuv420p", "yuvj420p", "gray", "nv12", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
# A seek drops the frames the decoder has in work. Measured on 100x80 to 640x360 H.264: it pays from 8 frames skipped.
SEEK_COST_FRAMES = 8


class PyavReader(VideoFile):
    """One open video file. Not shared between threads or processes."""

    def __init__(self, path: Path, gray: bool = False) -> None:
        """Open a video file.

        Args:
            path: the file.
            gray: frames are the stored luma plane.

        Raises:
            DataError: FFmpeg cannot open it, or it holds no video.
        """
        self.path = path
        self.gray = gray
        try:
            self._container = open_container(path)
        except (av.error.FFmpegError, OSError) as error:
            raise self._not_opened(_reason(error)) from None
        if not self._container.streams.video:
            self._container.close()
            raise self._error("holds no video stream")
        stream = self._stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1  # the loader's workers are the parallelism
        stream.codec_context.thread_type = "NONE"
        for other in self._container.streams:
            if other is not stream:
                other.discard = Discard.all
        rate = stream.average_rate or stream.guessed_rate
        if not rate or stream.time_base is None:
            raise self._error("states no frame rate; remux it with ffmpeg -c copy")
        self.fps = float(rate)
        self.width, self.height = stream.width, stream.height
        self.tick = stream.time_base  # seconds
        self.start = stream.start_time or 0  # timestamp of the first frame, in ticks
        self._ticks_per_frame = max(1, round(1 / (rate * self.tick)))
        self._reformatter = VideoReformatter()
        self._packets: Iterator[Packet[VideoStream]] | None = None
        self._decoded: deque[VideoFrame] = deque()
        self._limits: list[int] = []  # ticks of the frames asked for, rising: where nothing may be left out
        self._skipped: list[int] = []  # timestamps of pictures not decoded since the last seek
        self._length_size = length_size(stream.codec_context)
        self._current: VideoFrame | None = None  # the frame at the position, and the one after it
        self._upcoming: VideoFrame | None = None
        self._delay = self._index_delay()
        self.duration = self._stated_duration()

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C = 3; (T, H, W) with `gray`.

        Raises:
            ValueError: a time is negative or not finite.
            DataError: the video is damaged, or ends before one of the times.
        """
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not np.isfinite(times).all() or (times < 0).any():
            raise ValueError(f"times: finite seconds from 0 in one dimension, got {times}")
        out = np.empty((len(times), self.height, self.width, *(() if self.gray else (3,))), np.uint8)
        order = np.argsort(times, kind="stable")
        self._limits = [self._limit(float(times[row])) for row in order]
        last_frame, last_row = None, -1
        for row in order:
            frame = self._frame_at(float(times[row]))
            if frame is last_frame:
                out[row] = out[last_row]
            else:
                self._write(frame, out[row])
                last_frame, last_row = frame, row
        return torch.from_numpy(out)

    def frames_between(self, start: float, stop: float) -> Iterator[tuple[int, int, VideoFrame]]:
        """Decode every frame from the one on show at one time to the one on show at another.

        Args:
            start: seconds.
            stop: seconds, from `start`.

        Yields:
            The frame's timestamp in ticks, the following frame's (after the last, up to when it may be shown), and
            the frame as decoded.

        Raises:
            DataError: as `frames_at`.
        """
        self._limits = []
        limit, frame = self._limit(stop), self._frame_at(start)
        while self._upcoming is not None and self._ticks(self._upcoming) <= limit:
            yield self._ticks(frame), self._ticks(self._upcoming), frame
            frame = self._current = self._upcoming
            self._upcoming = self._next()
        frame = self._frame_at(stop)
        pts = self._ticks(frame)
        yield pts, pts + 2 * self._ticks_per_frame if self._upcoming is None else self._ticks(self._upcoming), frame

    def close(self) -> None:
        """Close the file."""
        self._current = self._upcoming = None
        self._stop_packets()
        self._decoded.clear()
        self._container.close()

    def _limit(self, time: float) -> int:
        return self.start + math.floor((time + HALF_MILLISECOND) / self.tick)

    def _frame_at(self, time: float) -> VideoFrame:
        limit = self._limit(time)
        if self._current is None or limit < self._ticks(self._current) or self._seek_pays(limit):
            self._seek(limit)
        self._advance(limit)
        assert self._current is not None
        if any(self._ticks(self._current) < pts <= limit for pts in self._skipped):
            self._limits = []
            self._seek(limit)
            self._advance(limit)
        self._skipped = [pts for pts in self._skipped if pts > limit]
        end = self._ticks(self._current)
        if self._upcoming is None and limit >= end + 2 * self._ticks_per_frame:
            raise self._ends_before(time, self._seconds(end))
        if self._current.rotation:
            raise self._rotated(self._current.rotation)
        if self._current.is_corrupt:
            raise self._error(f"the frame at {self._seconds(end):.3f} s is damaged; fetch the file again")
        return self._current

    def _advance(self, limit: int) -> None:
        while self._upcoming is not None and self._ticks(self._upcoming) <= limit:
            self._current, self._upcoming = self._upcoming, self._next()

    def _seek_pays(self, limit: int) -> bool:
        """True if a keyframe lies between the position and `limit`, far enough ahead to be worth the jump."""
        if self._upcoming is None:
            return False
        position = self._ticks(self._upcoming)
        if limit - position <= SEEK_COST_FRAMES * self._ticks_per_frame:
            return False
        entries = self._stream.index_entries
        found = entries.search_timestamp(limit - self._delay)
        if found < 0:
            return limit - position > self.fps * self._ticks_per_frame  # no index: jump over more than a second
        skipped = entries[found].timestamp + self._delay - position
        return skipped > SEEK_COST_FRAMES * self._ticks_per_frame

    def _seek(self, limit: int) -> None:
        """Move to a frame at or before `limit`, as near to it as the keyframes allow.

        Containers find keyframes by decoding time, which may come before the time of showing: where the first frame
        is already past `limit`, look from further back.
        """
        target, step = limit - self._delay, self._ticks_per_frame
        while True:
            target = max(target, self.start - self._delay)
            try:
                self._container.seek(target, stream=self._stream, backward=True)
            except av.error.FFmpegError as error:
                raise self._error(f"cannot seek to {self._seconds(limit):.3f} s ({_reason(error)})") from None
            self._stop_packets()
            self._packets = self._container.demux(self._stream)
            self._decoded.clear()
            self._skipped = []
            self._current, self._upcoming = self._next(), self._next()
            if self._current is None:
                raise self._error(
                    f"no frame decodes from {self._seconds(limit):.3f} s on, the header says the video lasts "
                    f"{self.duration:.3f} s: cut off or damaged, fetch it again"
                )
            if self._ticks(self._current) <= limit or target <= self.start - self._delay:
                return
            target, step = target - step, step * 4

    def _stop_packets(self) -> None:
        """Left to the garbage collector, each of PyAV's generators of packets leaves 144 bytes behind (18.1)."""
        if self._packets is not None:
            self._packets.close()  # type: ignore[attr-defined]  # it is a generator
            self._packets = None

    def _next(self) -> VideoFrame | None:
        try:
            while not self._decoded:
                packet = next(self._packets, None) if self._packets else None
                if packet is None:
                    return None
                if not self._skips(packet):
                    self._decoded.extend(packet.decode())
            return self._decoded.popleft()
        except av.error.FFmpegError as error:
            where = "" if self._current is None else f" after {self._seconds(self._ticks(self._current)):.3f} s"
            self._current = None  # the next call starts with a seek
            raise self._not_decoded(_reason(error), where) from None

    def _skips(self, packet: "Packet[VideoStream]") -> bool:
        """True if the packet need not be decoded: not asked for, and no other is predicted from it."""
        if not self._limits or packet.pts is None or self._length_size is None:
            return False
        place = bisect.bisect_left(self._limits, packet.pts)
        if place < len(self._limits) and packet.pts > self._limits[place] - 2 * self._ticks_per_frame:
            return False
        if has_reference_slice(memoryview(packet), self._length_size):
            return False
        self._skipped.append(packet.pts)
        return True

    def _write(self, frame: VideoFrame, out: np.ndarray) -> None:
        """Put the frame's pixels into `out`, (H, W, 3) or (H, W)."""
        if (frame.width, frame.height) != (self.width, self.height):
            raise self._error(f"changes its size from {self.width}x{self.height} to {frame.width}x{frame.height}")
        if self.gray and frame.format.name not in LUMA_FORMATS:
            raise self._error(f"stored as {frame.format.name}, whose luma is not 8 bits a pixel in a plane of its own")
        copy_pixels(frame, self._reformatter, out)

    def _ticks(self, frame: VideoFrame) -> int:
        ticks = frame.pts if frame.pts is not None else frame.dts  # AVI has decoding times only
        if ticks is None:
            raise self._error("has frames without timestamps; remux it with ffmpeg -c copy")
        return ticks

    def _seconds(self, ticks: int) -> float:
        return float((ticks - self.start) * self.tick)

    def _index_delay(self) -> int:
        """Ticks by which the container's index (decoding time) runs before the time of showing; 0 without B-frames."""
        entries = self._stream.index_entries
        return max(0, self.start - entries[0].timestamp) if len(entries) else 0

    def _stated_duration(self) -> float:
        """Seconds of video by the header; by the last packets where the header only knows the whole file.

        Sound may outlast the pictures, so a file's duration is not believed to the last frame. A file that ends over
        a second before its header says keeps the header's figure, and asking for what is gone is then an error.
        """
        if self._stream.duration:
            return float(self._stream.duration * self.tick)
        if self._container.duration is None:
            raise self._error("states no duration; remux it with ffmpeg -c copy")
        whole = (self._container.duration - (self._container.start_time or 0)) / av.time_base
        self._container.seek(max(self.start, self.start + int((whole - 1) / self.tick)), stream=self._stream)
        ends = [packet.pts + (packet.duration or 0) for packet in self._container.demux(self._stream) if packet.pts]
        end = self._seconds(max(ends)) if ends else 0.0
        return end if 0 <= whole - end <= 1.0 else whole


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
