"""A video file opened through PyAV: which of its streams is read, what FFmpeg complains of, where decoding can start.

A container's keyframe flag is no proof. Recovery points of intra-refresh streams (H.264 D.1.8 with a frame count above
0, x265's) carry it, and what is decoded from them shows remains of other pictures for a while. So H.264, HEVC, MPEG-2
and MPEG-4 pictures are looked at themselves; the flag is believed of the others.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from epicsub.data.decode import VideoFile, open_container

if av.logging.get_level() is None:  # PyAV does not listen to FFmpeg by default
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    logging.getLogger("libav").setLevel(logging.CRITICAL)  # what is not asked for (`complaints`) is not printed

NO_TIMES = "has pictures without a time of showing: write it anew, with ffmpeg -i IN OUT.mp4"
NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
FFMPEG_CODES = 1 << 16  # errors from there on are FFmpeg's own, the others the system's


class OpenVideo(VideoFile):
    """A file opened through PyAV, with one stream of it chosen."""

    def __init__(self, path: Path) -> None:
        """Open a video file.

        Args:
            path: the file.

        Raises:
            DataError: FFmpeg cannot open it, it holds no video, or none that PyAV decodes.
        """
        self.path = path
        try:
            self.container: InputContainer = open_container(path)
        except (av.error.FFmpegError, OSError) as error:
            raise self._not_opened(reason_of(error)) from None
        stream = best_stream(self.container)
        if stream is None:
            self.container.close()
            raise self._error("holds no video stream")
        self.stream = stream
        context = stream.codec_context
        if context is None or not context.is_decoder:
            raise self._error("the FFmpeg of PyAV has no decoder for its pictures: write it anew, as H.264")
        self.codec = context.name
        self.length_size = length_size(context)
        context.thread_count = 1  # the loader's workers are the parallelism
        context.thread_type = "NONE"
        if self.codec != "h264":  # it fails for what it forgives at open groups, too; `complaints` are finer
            context.options = {"err_detect": "crccheck+explode"}
        rate = stream.average_rate or stream.guessed_rate
        if not rate or stream.time_base is None:
            raise self._error("states no frame rate; remux it with ffmpeg -c copy")
        self.rate = rate
        self.tick = stream.time_base
        self.frame = max(1, round(1 / (self.rate * self.tick)))  # ticks of a frame

    def is_start(self, packet: "Packet[VideoStream]") -> bool:
        """Tell if decoding can start at a packet.

        Args:
            packet: of the stream.

        Returns:
            True if all pictures shown after this one decode right from here on.
        """
        return packet.size > 0 and is_clean_start(packet, self.codec, self.length_size)

    def close(self) -> None:
        """Close the file."""
        self.container.close()


def reason_of(error: Exception) -> str:
    """Say what went wrong: the system's reason as it is, FFmpeg's in our words.

    Args:
        error: raised by PyAV.

    Returns:
        A few words.
    """
    if isinstance(error, av.error.InvalidDataError):
        return "its content is not valid"
    if isinstance(error, av.error.EOFError):
        return "it ends too early"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, av.error.FFmpegError):
        return error.strerror
    code = getattr(error, "errno", None) or 0
    return os.strerror(code) if 0 < code < FFMPEG_CODES else "FFmpeg gives up"


def stamp_of(packet: "Packet[VideoStream] | VideoFrame") -> int | None:
    """Find a timestamp.

    Args:
        packet: or frame.

    Returns:
        Ticks of showing; those of decoding where there are none, as in AVI.
    """
    return packet.pts if packet.pts is not None else packet.dts


def best_stream(container: InputContainer) -> VideoStream | None:
    """Choose the stream that holds the recording.

    Args:
        container: open.

    Returns:
        The video stream of most pixels; covers, thumbnails and single pictures come last. None if there is none.
    """

    def rank(stream: VideoStream) -> tuple[bool, int, bool, int]:
        context, moves = stream.codec_context, not stream.disposition & NO_PICTURES and stream.frames != 1
        pixels = context.width * context.height if context is not None else 0
        return moves, pixels, bool(stream.disposition & Disposition.default), -stream.index

    return max(container.streams.video, key=rank, default=None)


def complaints(said: list[tuple[int, str, str]]) -> list[str]:
    """What FFmpeg says that makes a picture doubtful.

    Args:
        said: level, speaker and message of each, from `av.logging.Capture`.

    Returns:
        Errors; but not that a picture cannot be forgotten which is from before the place where decoding started.
    """
    return [words.strip() for level, _, words in said if level <= av.logging.ERROR and not words.startswith("mmco:")]


START_CODE = b"\0\0\1"
SEI, IDR, SLICE, RECOVERY_POINT = 6, 5, 1, 6
HEVC_IRAP = range(16, 22)  # BLA, IDR and CRA (H.265, table 7-1); pictures that lead a CRA are left out by the decoder


def length_size(context: VideoCodecContext) -> int | None:
    """Tell how the units of H.264 and HEVC packets are separated.

    Args:
        context: of the stream.

    Returns:
        Bytes of the length before each unit, 0 for start codes, None if the stream is neither.
    """
    extra = context.extradata or b""
    place = {"h264": 4, "hevc": 21}.get(context.name)
    if place is None:
        return None
    return (extra[place] & 3) + 1 if len(extra) > place and extra[0] == 1 else 0


def has_reference_slice(picture: memoryview | bytes, size: int) -> bool:
    """Tell from nal_ref_idc of its first slice (H.264, 7.4.1) if others may be predicted from a picture.

    Args:
        picture: a packet.
        size: see `length_size`.

    Returns:
        False if no other picture is predicted from it.
    """
    view = memoryview(picture)
    for begin, _ in _units(view, size):
        if view[begin] & 31 in (SLICE, IDR):
            return view[begin] >> 5 & 3 != 0
    return True


def is_clean_start(packet: "Packet[VideoStream]", codec: str, size: int | None) -> bool:
    """Tell if decoding can start at a packet.

    Args:
        packet: with data.
        codec: FFmpeg's name.
        size: see `length_size`.

    Returns:
        True if all pictures shown after this one decode right from here on.
    """
    if codec == "h264":
        return _h264(memoryview(packet), size or 0)
    if codec == "hevc":
        view = memoryview(packet)
        kinds = (view[begin] >> 1 & 63 for begin, _ in _units(view, size or 0))
        return next((kind in HEVC_IRAP for kind in kinds if kind < 32), False)
    if codec in ("mpeg1video", "mpeg2video", "mpeg4"):
        return _mpeg(bytes(packet), codec)
    return packet.is_keyframe


def leads(packet: "Packet[VideoStream]", codec: str, size: int | None) -> bool:
    """Tell if pictures that are shown before a clean start can lack what they are predicted from.

    Args:
        packet: a clean start.
        codec: FFmpeg's name.
        size: see `length_size`.

    Returns:
        True for H.264 pictures that are not IDR; decoders leave out the leading pictures of other codecs.
    """
    view = memoryview(packet)
    return codec == "h264" and not any(view[begin] & 31 == IDR for begin, _ in _units(view, size or 0))


def _h264(view: memoryview, size: int) -> bool:
    """An IDR picture, or an I picture that is said to be right at once."""
    at_once = False
    for begin, end in _units(view, size):
        kind = view[begin] & 31
        if kind == IDR:
            return True
        if kind == SEI:
            at_once = at_once or _recovers_at_once(view[begin + 1 : end])
        elif kind == SLICE:
            return at_once and _slice_type(view[begin + 1 : min(end, begin + 16)]) in (2, 4, 7, 9)
    return False


def _recovers_at_once(messages: memoryview) -> bool:
    """True if one of the SEI messages is a recovery point with recovery_frame_cnt 0 (a single bit 1)."""
    position = 0
    while position + 2 < len(messages):
        fields = []
        for _ in ("payload type", "payload size"):
            value = 0
            while position < len(messages) and messages[position] == 255:
                value, position = value + 255, position + 1
            if position >= len(messages):
                return False
            fields.append(value + messages[position])
            position += 1
        if fields[0] == RECOVERY_POINT:
            return position < len(messages) and messages[position] >> 7 == 1
        position += fields[1]
    return False


def _slice_type(header: memoryview) -> int:
    """The second of the slice header's Exp-Golomb numbers (H.264, 7.3.3); -1 if there is none."""
    bits = "".join(f"{byte:08b}" for byte in header)
    value = -1
    for _ in ("first_mb_in_slice", "slice_type"):
        zeros = bits.find("1")
        if zeros < 0 or len(bits) < 2 * zeros + 1:
            return -1
        value, bits = int(bits[zeros : 2 * zeros + 1], 2) - 1, bits[2 * zeros + 1 :]
    return value


def _mpeg(data: bytes, codec: str) -> bool:
    """The first picture is an I picture: picture_coding_type 1 (MPEG-2, 6.2.3), vop_coding_type 0 (MPEG-4, 6.2.5)."""
    head = data.find(START_CODE + (b"\xb6" if codec == "mpeg4" else b"\0"))
    if head < 0 or head + 6 > len(data):
        return False
    return data[head + 4] >> 6 == 0 if codec == "mpeg4" else data[head + 5] >> 3 & 7 == 1


def _units(view: memoryview, size: int) -> Iterator[tuple[int, int]]:
    """Positions of each unit's first byte and of its end."""
    if size:
        position = 0
        while position + size < len(view):
            begin = position + size
            position = begin + int.from_bytes(view[position:begin], "big")
            yield begin, min(position, len(view))
        return
    data = bytes(view)
    position = data.find(START_CODE)
    while 0 <= position < len(data) - 3:
        following = data.find(START_CODE, position + 3)
        yield position + 3, len(data) if following < 0 else following
        position = following
