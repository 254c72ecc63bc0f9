"""The frames of a video one after another, from a place where decoding can start, each proved good or refused."""

import bisect
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from epicsub.data.decode.facts import Facts
from epicsub.data.decode.opened import NO_TIMES, OpenVideo, complaints, has_reference_slice, leads, reason_of, stamp_of
from epicsub.errors import DataError

# A seek drops the frames the decoder has in work. Measured on 100x80 to 640x360 H.264: it pays from 8 frames skipped.
SEEK_COST_FRAMES = 8
FED = 64  # more than any codec keeps back to put pictures in order
GAP_FRAMES, LOOKED_PAST, PACKETS_PAST = (
    2,
    16,
    600,
)  # a longer pause than that between two frames is believed if no later frame falls in it
FAR = 60.0  # seconds to decode rather than seek, where keyframes of the container are no clean starts


class Sequence:
    """Where a file is read and what comes next. Ticks are the stream's unit of time.

    A seek is believed only where it lands at a picture that decodes on its own, shown at or before the time wanted;
    else it is tried from further back, at last from the beginning of the file. What FFmpeg reports as an error while
    it decodes, or marks as corrupt, is an error here: the picture that it makes up is never given.
    """

    def __init__(self, path: Path, facts: Facts) -> None:
        self.video = OpenVideo(path)
        self.limits: list[int] = []  # ticks of the frames asked for, rising: where nothing may be left out
        self.skipped: list[int] = []  # timestamps of pictures not decoded since the last seek
        self.disordered = False  # True once packets came in another order than the codec's: none may be left out
        self._ahead: deque[Packet[VideoStream]] = deque()  # read, and not yet decoded
        self._fed: list[int] = []  # timestamps of the last packets, rising
        self._facts = facts
        self._stamps = [stamp for stamp, _ in facts.starts]
        self.flags_lie = False  # True once a keyframe of the container turned out to be no clean start
        self._packets: Iterator[Packet[VideoStream]] | None = None
        self._start: Packet[VideoStream] | None = None  # where decoding starts, until it does
        self._sound_from = self._floor = 0  # errors before that time do not matter, frames before are left out
        self._latest: int | None = None
        self._decoded: deque[VideoFrame] = deque()
        self._discard_others()

    def seek(self, limit: int) -> None:
        """Move to the last clean start at or before a time, or to the first of the file.

        Args:
            limit: ticks.

        Raises:
            DataError: the file cannot be read any more.
        """
        for target in self._targets(limit):
            self._go(target)
            if self._find_start(limit if target is not None else None):
                return

    def pays(self, position: int, limit: int) -> bool:
        """Tell if a seek is faster than decoding on.

        Args:
            position: ticks of the next frame.
            limit: ticks of the frame that is wanted.

        Returns:
            True if a clean start lies between them, far enough ahead.
        """
        ahead = limit - position
        if self.video.container.format.name == "mpeg" or ahead <= SEEK_COST_FRAMES * self.video.frame:
            return False
        if self._stamps:
            found = self._stamps[max(0, bisect.bisect_right(self._stamps, limit) - 1)]
            return found - position > SEEK_COST_FRAMES * self.video.frame
        if self.flags_lie:
            return ahead * self.video.tick > FAR
        entries = self.video.stream.index_entries
        place = entries.search_timestamp(limit - self._facts.delay)
        if place < 0:
            return ahead * self.video.tick > 1
        return entries[place].timestamp + self._facts.delay - position > SEEK_COST_FRAMES * self.video.frame

    def next(self) -> VideoFrame | None:
        """Decode on.

        Returns:
            The next frame; None at the end of the file.

        Raises:
            DataError: it is damaged, or comes with a timestamp before that of the last one.
        """
        if not self._fill(1):
            return None
        frame = self._decoded.popleft()
        ticks = self.ticks(frame)
        if frame.is_corrupt:
            raise self.video._not_decoded("FFmpeg marks it as corrupt", f" at {self.seconds(ticks):.3f} s")
        if self._latest is not None and ticks < self._latest:
            raise self._goes_back(self._latest, ticks)
        if self._latest is not None:
            before = max([self._latest, *(stamp for stamp in self.skipped if stamp < ticks)])
            if ticks - before > GAP_FRAMES * self.video.frame and self._fill(LOOKED_PAST):
                while len(self._ahead) < PACKETS_PAST and (packet := self._read_packet()) is not None:
                    self._ahead.append(packet)
                later = [*map(self.ticks, self._decoded), *(stamp_of(packet) for packet in self._ahead if packet.size)]
                back = [stamp for stamp in later if stamp is not None and stamp < ticks]
                if back:
                    raise self._goes_back(ticks, back[0])
        self._latest = ticks
        return frame

    def _fill(self, count: int) -> bool:
        """Decode until there are so many frames, or the file ends; False if there is none."""
        while len(self._decoded) < count:
            packet, self._start = self._start, None
            if packet is None:
                packet = self._next_packet()
            if packet is None:
                break
            if not self._skips(packet):
                self._decoded.extend(frame for frame in self._decode(packet) if self.ticks(frame) >= self._floor)
        return bool(self._decoded)

    def _goes_back(self, latest: int, ticks: int) -> DataError:
        return self.video._error(
            f"its timestamps go back from {self.seconds(latest):.3f} to {self.seconds(ticks):.3f} s, so when its "
            "pictures are shown cannot be told: write it anew, with ffmpeg -i IN OUT.mp4"
        )

    def ticks(self, frame: VideoFrame) -> int:
        """Find the timestamp of a frame.

        Args:
            frame: of this file.

        Returns:
            Ticks.

        Raises:
            DataError: it has none.
        """
        ticks = stamp_of(frame)
        if ticks is None:
            raise self.video._error(NO_TIMES)
        return ticks

    def seconds(self, ticks: int) -> float:
        """Count from the start of the video.

        Args:
            ticks: a timestamp.

        Returns:
            Seconds.
        """
        return float((ticks - self._facts.start) * self.video.tick)

    def close(self) -> None:
        """Close the file."""
        self._stop()
        self.video.close()

    def _targets(self, limit: int) -> Iterator[int | None]:
        """Decoding times to seek to, from near to far; None is the beginning of the file."""
        if self.video.container.format.name == "mpeg":  # after a seek its times are guessed until one is stated
            yield None
            return
        earliest = self._facts.start - self._facts.delay
        target, step = limit - self._facts.delay, self.video.frame
        if self._stamps:
            target = self._facts.starts[max(0, bisect.bisect_right(self._stamps, limit) - 1)][1]
            step = max(step, round(1 / self.video.tick))
        while target > earliest:
            yield target
            target, step = target - step, step * 4
        if not self._stamps:
            yield earliest
        yield None

    def _go(self, target: int | None) -> None:
        """Have packets from there on; a seek that FFmpeg refuses goes nowhere."""
        self._stop()
        if target is None:
            self.video.close()
            self.video = OpenVideo(self.video.path)
            self._discard_others()
        else:
            try:
                self.video.container.seek(target, stream=self.video.stream, backward=True)
            except av.error.FFmpegError:
                return
        self._packets = self.video.container.demux(self.video.stream)

    def _discard_others(self) -> None:
        for other in self.video.container.streams:
            if other is not self.video.stream:
                other.discard = Discard.all

    def _find_start(self, limit: int | None) -> bool:
        """Skip to the first clean start; False if it comes after `limit`, or never."""
        first = True
        while (packet := self._next_packet()) is not None:
            stamp = stamp_of(packet)
            if not packet.size or stamp is None:
                continue
            if limit is not None and stamp > limit + SEEK_COST_FRAMES * self.video.frame:
                return False
            if self.video.is_start(packet):
                self._start, self._sound_from = packet, stamp
                leading = leads(packet, self.video.codec, self.video.length_size)
                self._floor = stamp if leading else min(stamp, self._facts.start)
                return limit is None or stamp <= limit
            self.flags_lie = self.flags_lie or (first and packet.is_keyframe)
            first = False
        return limit is None

    def _next_packet(self) -> "Packet[VideoStream] | None":
        return self._ahead.popleft() if self._ahead else self._read_packet()

    def _read_packet(self) -> "Packet[VideoStream] | None":
        try:
            with av.logging.Capture() as said:
                packet = next(self._packets, None) if self._packets else None
        except av.error.FFmpegError as error:
            raise self.video._not_decoded(reason_of(error), self._where()) from None
        if said and complaints(said):
            raise self.video._not_decoded("FFmpeg has to pass over a part of the file", self._where())
        return packet

    def _decode(self, packet: "Packet[VideoStream]") -> list[VideoFrame]:
        stamp = stamp_of(packet) if packet.size else None
        matters = stamp is None or stamp >= self._sound_from
        try:
            with av.logging.Capture() as said:
                frames = packet.decode()
        except av.error.FFmpegError as error:
            if matters:
                raise self.video._not_decoded(reason_of(error), self._where()) from None
            return []
        if matters and packet.is_corrupt:
            raise self.video._not_decoded("the container marks a picture as corrupt", self._where())
        if matters and said and complaints(said):
            raise self.video._not_decoded("FFmpeg has to make up parts of a picture", self._where())
        return frames

    def _where(self) -> str:
        return "" if self._latest is None else f" after {self.seconds(self._latest):.3f} s"

    def _skips(self, packet: "Packet[VideoStream]") -> bool:
        """True if the packet need not be decoded: not asked for, and no other is predicted from it."""
        if not self.limits or packet.pts is None or self.video.codec != "h264" or not packet.size:
            return False
        before = bisect.bisect_right(self._fed, packet.pts)
        self.disordered |= len(self._fed) - before > self.video.stream.codec_context.has_b_frames
        self._fed.insert(before, packet.pts)
        del self._fed[:-FED]
        place = bisect.bisect_left(self.limits, packet.pts)
        if place < len(self.limits) and packet.pts > self.limits[place] - 2 * self.video.frame:
            return False
        if has_reference_slice(memoryview(packet), self.video.length_size or 0):
            return False
        self.skipped.append(packet.pts)
        return True

    def _stop(self) -> None:
        """Left to the garbage collector, each of PyAV's generators of packets leaves 144 bytes behind (18.1)."""
        if self._packets is not None:
            self._packets.close()  # type: ignore[attr-defined]  # it is a generator
            self._packets = None
        self._start = self._latest = None
        self._decoded.clear()
        self._ahead.clear()
        self.skipped, self._fed, self.disordered = [], [], False
