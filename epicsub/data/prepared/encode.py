"""From a video, flow, or the organisers' extracted frames to the H.264 pictures of the prepared store.

Each source says what the store must know of the original (`note`) and gives the pictures of an interval. Pictures of
rgb are made smaller, flow stays as it is: its grey levels count pixels of its own size.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from epicsub.data.decode.opened import has_reference_slice
from epicsub.data.decode.pyav import EDGE_FRAMES, PyavReader
from epicsub.data.decode.reader import open_reader
from epicsub.data.frames import ExtractedFrames
from epicsub.data.prepared import KEY, REFERENCE
from epicsub.data.root import DataRoot
from epicsub.modality import MODALITIES

FRAMES_AT_ONCE = 64
KEYFRAME_EVERY = 8
# No macroblock tree: in it x264 reads memory it never wrote, and the same pictures gave other bytes in 3 runs of 100.
STRUCTURE = (
    f"keyint={KEYFRAME_EVERY}:min-keyint={KEYFRAME_EVERY}:bframes={KEYFRAME_EVERY - 1}:b-adapt=0:b-pyramid=none:"
    "open-gop=1:scenecut=0:ref=1:rc-lookahead=8:sync-lookahead=0:mbtree=0"
)


class Picture(NamedTuple):
    """A frame to store, and the timestamps, in ticks, of it and of the frame that follows it in the original."""

    pts: int
    following: int
    frame: VideoFrame


def encode(
    pictures: Iterable[Picture], crf: int, note: dict[str, Any]
) -> tuple[list[tuple[int, bytes, int]], list[int], int]:
    """Encode one stretch.

    Args:
        pictures: in order of time, of one size.
        crf: x264's quality.
        note: as for `write_entry`.

    Returns:
        (timestamp, bytes, flags) in decoding order; the timestamps in order of time; the timestamp that follows.
    """
    encoder: VideoCodecContext | None = None
    encoded = []
    stamps: list[int] = []
    end = 0
    for pts, following, frame in pictures:
        if encoder is None:
            encoder = _encoder(frame, crf, note)
        frame.pts, frame.time_base, frame.pict_type = pts, encoder.time_base, 0
        encoded += encoder.encode(frame)
        stamps.append(pts)
        end = following
    assert encoder is not None, "a stretch without pictures"
    encoded += encoder.encode(None)
    packets = [(packet.pts or 0, bytes(packet), bool(packet.is_keyframe)) for packet in encoded]
    return (
        [(pts, data, KEY * key | REFERENCE * has_reference_slice(data, 0)) for pts, data, key in packets],
        stamps,
        end,
    )


def _encoder(frame: VideoFrame, crf: int, note: dict[str, Any]) -> VideoCodecContext:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base, context.framerate = Fraction(*note["tick"]), Fraction(note["fps"]).limit_denominator(100_000)
    # The decoder turns YUV to RGB by the stream's colour tags: copy the original's.
    context.color_range, context.colorspace = frame.color_range, frame.colorspace
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    context.thread_count = 1
    # fastdecode: no CABAC, no deblocking; a third less time to decode for a seventh more bytes (measured)
    context.options = {
        "preset": "veryfast", "tune": "fastdecode", "crf": str(crf), "threads": "1", "x264-params": STRUCTURE,
    }  # fmt: skip
    return context


class VideoSource:
    """A video file, or epicsub's flow file."""

    def __init__(self, path: Path, modality: str, short_side: int) -> None:
        """Open `path`.

        Args:
            path: the file to write.
            modality: name of the modality.
            short_side: pixels of the stored short side; ignored where the modality keeps its size.

        Raises:
            DataError: it is missing or no video.
        """
        row = MODALITIES[modality]
        reader = open_reader(path, "pyav", gray=not row.is_color)
        assert isinstance(reader, PyavReader)
        self._reader = reader
        self._size = _stored_size(reader.width, reader.height, None if row.keeps_size else short_side)
        self._reformatter = VideoReformatter()
        self.note = _note(path, reader.tick, reader.start, reader.duration, reader.fps, self._size)
        if reader.readable_from:  # up to two frames before it, that picture is the one on show; see `PyavReader`
            self.note["first"] = max(0.0, reader.readable_from - (EDGE_FRAMES - 0.5) / reader.fps)

    def pictures(self, start: float, stop: float) -> Iterator[Picture]:
        """Read an interval.

        Args:
            start: seconds.
            stop: seconds.

        Yields:
            Pictures from the one on show at `start` to the one at `stop`.

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

        Args:
            path: a folder or a tar.
            video_id: id of the video.
            modality: name of the modality.
            short_side: as `VideoSource`.

        Raises:
            DataError: it holds none, or cannot be read.
        """
        self._frames = frames = ExtractedFrames(path, video_id, modality)
        self._row = row = MODALITIES[modality]
        self._rate = Fraction(frames.fps).limit_denominator(1000)
        width = frames.width if row.is_color else row.channels * frames.width
        self._size = _stored_size(width, frames.height, None if row.keeps_size else short_side)
        self._reformatter = VideoReformatter()
        self.note = _note(path, 1 / self._rate, 0, frames.duration, frames.fps, self._size)

    def pictures(self, start: float, stop: float) -> Iterator[Picture]:
        """Read an interval.

        Args:
            start: seconds.
            stop: seconds.

        Yields:
            As `VideoSource.pictures`.
        """
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
    """Open the original that a modality of a video is read from.

    Args:
        root: the data root.
        video_id: id of the video.
        modality: name of the modality.
        short_side: pixels of the stored short side.

    Returns:
        A reader of the original.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = root.require(video_id, modality)
    if path == root.frames(video_id, modality):
        return FrameSource(path, video_id, modality, short_side)
    return VideoSource(path, modality, short_side)


def source_name(path: Path) -> dict[str, Any]:
    """Describe an original, so that an entry can be compared with it.

    Args:
        path: the original.

    Returns:
        Its name and bytes (None for a folder).
    """
    return {"name": path.name, "bytes": path.stat().st_size if path.is_file() else None}


def _stored_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
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
