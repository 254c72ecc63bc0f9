"""The file that holds the flow of one video.

H.264, yuv420p, full range; luma holds u in the left half and v in the right half, chroma is 128. A grey level is
round((clip(flow, -bound, bound) / bound + 1) * 127.5). Each flow picture has the timestamp of the RGB frame that it
starts from, and every eighth is a keyframe. The container's comment is a JSON note of how the flow was made.

Shape legend: H height, W width of the flow picture, 2 (u, v).
"""

import json
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from epicsub.io import written_whole

FORMAT = 1
KEYFRAME_EVERY = 8  # flow pictures
QUALITY = 8  # crf: the codec's error stays about that of quantisation


def quantise(flow_HW2: np.ndarray, bound: float) -> np.ndarray:
    """Pixels to grey levels, (H, W, 2) uint8: -bound -> 0, 0 -> 128 (127.5 rounded to even), bound -> 255."""
    return np.round((np.clip(flow_HW2, -bound, bound) / bound + 1) * 127.5).astype(np.uint8)


def flow_note(source: Path, stride: int, short_side: int, bound: float, method: str) -> dict[str, Any]:
    """What the file says of itself; two notes are equal when the flow would be."""
    return {
        "epicsub_flow": FORMAT,
        "bound": float(bound),
        "stride": stride,
        "method": method,
        "short_side": short_side,
        "source": {"name": source.name, "bytes": source.stat().st_size},
    }


def read_flow_note(path: Path) -> dict[str, Any] | None:
    """How a flow file was made (see `flow_note`), or None where there is no whole flow file."""
    try:
        with av.open(str(path)) as container:
            note = json.loads(container.metadata.get("comment", ""))
            whole = bool(container.streams.video) and container.streams.video[0].frames > 0
    except (av.error.FFmpegError, OSError, ValueError):
        return None
    return note if whole and isinstance(note, dict) and note.get("epicsub_flow") == FORMAT else None


def write_flow(
    path: Path,
    size: tuple[int, int],
    time_base: Fraction,
    pictures: Iterable[tuple[int, np.ndarray]],
    note: dict[str, Any],
) -> int:
    """Write flow pictures whole or not at all; returns how many.

    Args:
        size: width and (even) height of one flow picture.
        time_base: seconds of one tick of the timestamps.
        pictures: timestamp in ticks, (H, W, 2) uint8.
    """
    width, height = size
    count = 0
    # MP4 counts in 1/timescale of a second: with the source's own, timestamps stay exact
    container_options = {"video_track_timescale": str(time_base.denominator)}
    with written_whole(path) as temporary, av.open(str(temporary), "w", options=container_options) as container:
        container.metadata["comment"] = json.dumps(note)
        options = {"preset": "ultrafast", "crf": str(QUALITY), "bf": "0", "g": str(KEYFRAME_EVERY), "threads": "1"}
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
