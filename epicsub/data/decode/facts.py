"""What can be read of a video file, looked up once per file and process.

A header's start and duration are hints: they may count what comes before the first picture, sound that outlasts the
pictures, or what was cut off. Here the first and last pictures themselves are asked for their timestamps. A container
without an index of its own (MPEG-TS and PS, raw streams, fragmented MP4) is read through once, which finds where
decoding can start and whether timestamps begin again, as they do in files joined by `cat`.

Ticks are the stream's unit of time (`time_base` seconds each).
"""

import json
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet

from epicsub.data.decode.opened import NO_TIMES, OpenVideo, stamp_of

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "asf")
LOOKED_AT = 40  # packets at the beginning: more than any codec keeps back to put pictures in order
AVI_CHUNK_HEAD = 8  # bytes between where an AVI's index says that a picture is and the picture
CUT_OFF = 1.0  # seconds that a header may state too much


class Facts(NamedTuple):
    """What a file's pictures say, in ticks."""

    stream: int  # which of the container's
    start: int  # the earliest timestamp: where seconds count from
    first: int  # of the first picture that decodes
    end: int  # when the last picture goes
    stated: float  # seconds that the file lasts, by its header where it is cut off
    delay: int  # by how much decoding times, which indexes go by, may precede `start`
    starts: tuple[tuple[int, int], ...]  # clean starts, as timestamp and decoding time; none if there is an index


def facts_of(path: Path) -> Facts:
    """Look at the pictures of a file, unless it has been looked at and has not changed since.

    Args:
        path: of the file.

    Returns:
        Its facts.

    Raises:
        DataError: it cannot be opened, holds no picture, or its timestamps cannot be used.
    """
    state = path.stat()
    return _look(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _look(path: Path, size: int, changed: int) -> Facts:
    del size, changed  # part of the key
    video = OpenVideo(path)
    try:
        return _Look(video).facts()
    finally:
        video.close()


class _Look:
    """One look at a file."""

    def __init__(self, video: OpenVideo) -> None:
        self.video, self.container, self.stream = video, video.container, video.stream

    def facts(self) -> Facts:
        video, stream = self.video, self.stream
        begun = list(islice(self._stamped(self.container.demux(stream)), LOOKED_AT))
        if self.container.format.name == "avi" and self.video.length_size is not None and self._reorders():
            raise video._error(NO_TIMES)  # AVI has decoding times alone; FFmpeg's guess is wrong for these codecs
        if self.container.format.name == "avi":
            self._check_avi_index()
        shown = [stamp for stamp, packet in begun if not packet.is_discard]
        if not shown:
            raise video._error("holds no picture that can be read: cut off or damaged, fetch it again")
        start = min(shown)
        if (stated_start := _flow_start(self.container)) is not None:
            start = round(stated_start / video.tick)
        entries = stream.index_entries
        earliest = entries[0].timestamp if len(entries) else min(packet.dts or stamp for stamp, packet in begun)
        first = self._first_decoded(start)
        starts: tuple[tuple[int, int], ...] = ()
        if self._is_indexed():
            end, whole = self._ends(start)
        else:
            end, whole, starts = self._read_through(start)
        lasts = float((end - start) * video.tick)
        stated = self._stated(start)
        cut_off = stated is not None and stated - float((max(whole, end) - start) * video.tick) > CUT_OFF
        return Facts(
            stream.index, start, first, end, stated if cut_off and stated else lasts, max(0, start - earliest), starts
        )

    def _stamped(self, packets: "Iterator[Packet[Any]]") -> "Iterator[tuple[int, Packet[Any]]]":
        """Packets with their timestamps, to the end or to where reading fails."""
        try:
            for packet in packets:
                stamp = stamp_of(packet)
                own = packet.stream_index == self.stream.index
                if packet.size and own and (stamp is None or (packet.pts is None and self._reorders())):
                    raise self.video._error(NO_TIMES)
                if packet.size and stamp is not None:
                    yield stamp, packet
        except IndexError:  # PyAV knows the streams that a file begins with
            raise self.video._error(
                "another stream begins in the middle of it: damaged, or several recordings in one file? Write it anew, "
                "with ffmpeg -i IN OUT.mp4"
            ) from None
        except av.error.FFmpegError:
            return

    def _check_avi_index(self) -> None:
        """Refuse an AVI whose index and pictures disagree: it has no timestamps, the one or the other numbers them."""
        video, read = OpenVideo(self.video.path), set()
        try:
            for packet in video.container.demux(video.stream):
                if packet.size:
                    read.add(packet.pos)
        except (av.error.FFmpegError, IndexError):
            pass  # what lies behind is not among what was read
        finally:
            listed = {entry.pos + AVI_CHUNK_HEAD for entry in video.stream.index_entries if entry.size}
            video.close()
        if listed and listed != read:
            raise self.video._error(
                f"its index lists {len(listed)} pictures, {len(listed & read)} of {len(read)} lie where it says: cut "
                "off or damaged, fetch it again, or write it anew, with ffmpeg -i IN OUT.mp4"
            )

    def _is_indexed(self) -> bool:
        """True if the container finds any place without being read through."""
        name = self.container.format.name
        fragmented = name.startswith("mov") and not self.stream.frames
        return name in INDEXED and self.container.duration is not None and not fragmented

    def _first_decoded(self, start: int) -> int:
        """The first picture's timestamp. One that is damaged counts as there: who asks for it will be told."""
        other = OpenVideo(self.video.path)
        try:
            begun = False
            for packet in other.container.demux(other.stream):
                begun = begun or other.is_start(packet)
                for frame in packet.decode() if begun else ():
                    return max(start, stamp_of(frame) or start)
        except av.error.FFmpegError:
            return start
        finally:
            other.close()
        raise self.video._error("holds no picture that decodes on its own: cut off or damaged, fetch it again")

    def _stated(self, start: int) -> float | None:
        """Seconds by the header. Some count from 0 and not from the first picture: the difference is taken off."""
        if self.stream.duration:
            lasts = float(self.stream.duration * self.video.tick)
        elif self.container.duration is not None:
            lasts = (self.container.duration - (self.container.start_time or 0)) / av.time_base
        else:
            return None
        return min(lasts, lasts - float(start * self.video.tick)) if start > 0 else lasts

    def _ends(self, start: int) -> tuple[int, int]:
        """When the last picture goes, and the last packet of any stream, in ticks.

        A header that knows the whole file alone counts sound that outlasts the pictures; of a stream's own duration,
        the end of other streams proves nothing.
        """
        tick, stream = self.video.tick, self.stream
        target, step = start + round((self._stated(start) or 0) / tick), max(1, round(1 / tick))
        while True:
            target = max(start, target - step)
            self._seek(target)
            end = whole = own = -1
            for stamp, packet in self._stamped(self.container.demux()):
                assert packet.time_base is not None
                after = round((stamp + (packet.duration or 0)) * packet.time_base / tick)
                whole = max(whole, after)
                if packet.stream_index == stream.index and not packet.is_discard:
                    end, own = max(end, self._goes(stamp, packet)), max(own, after)
            if end > start:
                return end, own if stream.duration else whole
            if target <= start:
                raise self.video._error("no picture of it can be read: cut off or damaged, fetch it again")
            step *= 4

    def _seek(self, target: int) -> None:
        try:
            self.container.seek(target, stream=self.stream)
        except av.error.FFmpegError:
            try:
                self.container.seek(0)
            except av.error.FFmpegError:
                raise self.video._error("no place in it can be found: cut off or damaged, fetch it again") from None

    def _read_through(self, start: int) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        """When the last picture goes, the last packet of any stream, and all clean starts."""
        end = whole = start
        found = []
        before: int | None = None
        video = OpenVideo(self.video.path)
        for stamp, packet in self._stamped(video.container.demux()):
            assert packet.time_base is not None
            whole = max(whole, round((stamp + (packet.duration or 0)) * packet.time_base / video.tick))
            if packet.stream_index != video.stream.index:
                continue
            if packet.dts is not None:
                if before is not None and packet.dts < before:
                    raise video._error(
                        f"its timestamps begin again {float((before - start) * video.tick):.3f} s after the start: "
                        "several recordings in one file? Write each anew, with ffmpeg -i IN OUT.mp4"
                    )
                before = packet.dts
            end = max(end, self._goes(stamp, packet))
            if video.is_start(packet):
                found.append((stamp, packet.dts if packet.dts is not None else stamp))
        video.close()
        return end, whole, tuple(found)

    def _goes(self, stamp: int, packet: "Packet[Any]") -> int:
        """When a picture goes; it stands for two frame durations at most, whatever a container says of the last one."""
        return stamp + min(packet.duration or self.video.frame, 2 * self.video.frame)

    def _reorders(self) -> bool:
        return bool(self.stream.codec_context.has_b_frames)


def _flow_start(container: InputContainer) -> Fraction | None:
    """Seconds at which the video begins that flow was computed from: its own first picture may come later."""
    comment = container.metadata.get("comment", "")
    if not comment.startswith('{"epicsub_flow"'):
        return None
    try:
        start = json.loads(comment).get("start")
    except ValueError:
        return None
    return Fraction(start) if start is not None else None
