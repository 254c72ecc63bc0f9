"""The file that holds the flow of one video, and the settings that it was computed with.

H.264, yuv420p, full range; luma holds u in the left half and v in the right half, chroma is 128. A gray level is
round((clip(flow, -bound, bound) / bound + 1) * 127.5). Each flow picture has the timestamp of the RGB frame that it
starts from, and every eighth is a keyframe. The container's comment is a JSON note of how the flow was computed.

Shape legend: H height, W width of the flow picture, 2 (u, v).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from epicsub.data.decode import open_container
from epicsub.errors import DataError
from epicsub.io import atomic_write

FORMAT = 1
METHODS = ("dis", "tvl1")
KEYFRAME_EVERY = 8  # flow pictures
CRF = 8  # the codec's error stays about that of quantisation


@dataclass(frozen=True, slots=True)
class FlowSettings:
    """How flow is computed."""

    short_side: int = 256
    """Pixels of the short side at which flow is computed and stored; smaller videos are not enlarged."""
    bound: float = 8.0
    """Pixels per frame, at the stored size, at which flow is clipped."""
    method: str = "dis"
    """dis (dense inverse search, Kroeger et al. 2016) or tvl1 (Zach et al. 2007; OpenCV contrib)."""

    def __post_init__(self) -> None:
        rules = {
            f"short_side={self.short_side}: 16 pixels or more": self.short_side >= 16,
            f"bound={self.bound}: pixels, above 0": 0 < self.bound < float("inf"),
            f"method={self.method}: there are {', '.join(METHODS)}": self.method in METHODS,
        }
        if problems := [text for text, kept in rules.items() if not kept]:
            raise DataError("flow cannot be computed with these settings, give others:\n" + "\n".join(problems))


def quantise(flow_HW2: np.ndarray, bound: float) -> np.ndarray:
    """Convert flow to gray levels: -bound -> 0, 0 -> 128 (127.5 rounded to even), bound -> 255.

    Args:
        flow_HW2: pixels.
        bound: pixels at which it is clipped.

    Returns:
        uint8 (H, W, 2).
    """
    levels_HW2: np.ndarray = np.round((np.clip(flow_HW2, -bound, bound) / bound + 1) * 127.5)
    return levels_HW2.astype(np.uint8)


def flow_note(source: Path, stride: int, settings: FlowSettings) -> dict[str, Any]:
    """Note of a flow file; two notes are equal when the flow would be.

    Args:
        source: video file.
        stride: RGB frames from one flow picture to the next.
        settings: how flow is computed.

    Returns:
        Format, settings, stride and source, for JSON.
    """
    return {
        "epicsub_flow": FORMAT,
        "bound": float(settings.bound),
        "stride": stride,
        "method": settings.method,
        "short_side": settings.short_side,
        "source": {"name": source.name, "bytes": source.stat().st_size},
    }


def read_flow_note(path: Path) -> dict[str, Any] | None:
    """Read how a flow file was computed.

    Args:
        path: flow file.

    Returns:
        See `flow_note`; None if there is no complete flow file.
    """
    try:
        with open_container(path) as container:
            note = json.loads(container.metadata.get("comment", ""))
            complete = bool(container.streams.video) and container.streams.video[0].frames > 0
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    if isinstance(note, dict):
        note.pop("start", None)  # a fact of the source, which nobody asks for
    return note if complete and isinstance(note, dict) and note.get("epicsub_flow") == FORMAT else None


def write_flow(
    path: Path,
    size: tuple[int, int],
    time_base: Fraction,
    pictures: Iterable[tuple[int, np.ndarray]],
    note: dict[str, Any],
    start: Fraction = Fraction(0),
) -> int:
    """Write flow pictures whole or not at all.

    Args:
        path: flow file.
        size: width and (even) height of one flow picture in pixels.
        time_base: seconds of one tick of the timestamps.
        pictures: timestamp in ticks and (H, W, 2) uint8 of each.
        note: see `flow_note`.
        start: seconds at which the video starts by those timestamps, which the first picture may not.

    Returns:
        Number of pictures.
    """
    width, height = size
    count = 0
    # MP4 counts in 1/timescale of a second: with the source's own, timestamps stay exact
    container_options = {"video_track_timescale": str(time_base.denominator)}
    with atomic_write(path) as temporary, av.open(str(temporary), "w", options=container_options) as container:
        container.metadata["comment"] = json.dumps(note | {"start": str(start)})  # read by `decode.facts`
        options = {"preset": "ultrafast", "crf": str(CRF), "bf": "0", "g": str(KEYFRAME_EVERY), "threads": "1"}
        stream = container.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 2 * width, height, "yuv420p"
        stream.thread_count = 1
        stream.codec_context.color_range = ColorRange.JPEG
        stream.codec_context.time_base = time_base
        planes = np.full((height * 3 // 2, 2 * width), 128, np.uint8)
        for pts, picture in pictures:
            planes[:height, :width], planes[:height, width:] = picture[..., 0], picture[..., 1]
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base, frame.color_range = pts, time_base, ColorRange.JPEG
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count
