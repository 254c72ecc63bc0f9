"""A video file opened through PyAV: which of its streams is read, and what FFmpeg complains of."""

import logging
import os
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from epicsub.data.decode.base import VideoFile, open_container
from epicsub.data.decode.starts import is_clean_start, length_size

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
