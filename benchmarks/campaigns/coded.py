"""Videos whose pictures carry their own number, in any container and codec that PyAV's FFmpeg writes.

A number is drawn as 16 cells, black or white, four in a row: 14 bits and two of parity, so that a damaged or empty
picture is told from a right one. Tests and campaigns read a file at a time and know which number must be there.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

ACROSS, BITS = 4, 14
GROUND, BLACK, WHITE = 96, 16, 235
NUMBERS = 1 << BITS
QUALITY = {
    "libx264": {"crf": "18", "preset": "veryfast"},
    "libx265": {"crf": "18", "preset": "ultrafast", "x265-params": "log-level=none:pools=1"},
}


def picture(number: int, width: int = 320, height: int = 240) -> np.ndarray:
    """uint8 (height, width): the number's cells on gray ground."""
    cells = [number >> bit & 1 for bit in range(BITS)]
    parity = sum(cells) & 1
    out = np.full((height, width), GROUND, np.uint8)
    down, right = _edges(height), _edges(width)
    for place, cell in enumerate([*cells, parity, 1 - parity]):
        row, column = divmod(place, ACROSS)
        out[down[row] : down[row + 1], right[column] : right[column + 1]] = WHITE if cell else BLACK
    return out


def number_in(image: np.ndarray) -> int:
    """The number in (H, W) or (H, W, C), whatever its size and compression; -1 where no number can be read."""
    gray = np.asarray(image, np.float64).reshape(*image.shape[:2], -1).mean(-1)
    down, right = _edges(gray.shape[0]), _edges(gray.shape[1])
    high, wide = down[1] - down[0], right[1] - right[0]
    levels = [
        gray[top + high // 4 : top + 3 * high // 4 + 1, left + wide // 4 : left + 3 * wide // 4 + 1].mean()
        for top in down[:-1]
        for left in right[:-1]
    ]
    if any(90 < level < 160 for level in levels):
        return -1
    cells = [level > 128 for level in levels]
    parity = bool(sum(cells[:BITS]) & 1)
    if cells[BITS:] != [parity, not parity]:
        return -1
    return sum(int(cell) << bit for bit, cell in enumerate(cells[:BITS]))


def write_coded(
    path: Path,
    numbers: Iterable[int],
    rate: Fraction | int = 30,
    size: tuple[int, int] = (320, 240),
    codec: str = "libx264",
    container: str | None = None,
    gop: int = 48,
    b_frames: int = 2,
    first: int = 0,
    sound: float = 0.0,
    previews: Iterable[tuple[int, int]] = (),
    codec_options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    negative: bool = False,
    times: Iterable[int] | None = None,
) -> Path:
    """Write numbered pictures at a constant rate.

    `container` is a format of FFmpeg where the name's suffix does not say it; `first` frame durations pass before
    the first picture; `sound` is seconds of silence beside the pictures; `previews` are sizes of smaller video streams
    that come before the main one, with the pictures negative. `times` in frame durations replaces an even course.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = list(numbers)
    places = list(times) if times is not None else range(len(numbers))
    rate = Fraction(rate)
    with av.open(str(path), "w", format=container, options=dict(container_options or {})) as out:
        streams = [_add(out, codec, rate, shape, gop, b_frames, codec_options or {}) for shape in [*previews, size]]
        silence = out.add_stream("aac", rate=48000) if sound else None
        packets = []
        for place, number in zip(places, numbers, strict=True):
            for stream in streams:
                gray = picture(number, stream.width, stream.height)
                if negative or stream is not streams[-1]:
                    gray = 255 - gray
                frame = av.VideoFrame.from_ndarray(_planes(gray), "yuv420p")
                frame.pts, frame.time_base = place + first, 1 / rate
                packets += stream.encode(frame)
        for stream in streams:
            packets += stream.encode()
        if silence is not None:
            for begin in range(0, int(sound * 48000), 1024):
                samples = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                samples.sample_rate, samples.pts, samples.time_base = 48000, begin, Fraction(1, 48000)
                packets += silence.encode(samples)
            packets += silence.encode()
        if len(out.streams) > 1:
            packets.sort(key=lambda packet: (packet.dts or 0) * packet.time_base)
        out.mux(packets)
    return path


def _edges(length: int) -> list[int]:
    """Of four cells inside a margin of a tenth."""
    return np.linspace(length * 0.1, length * 0.9, ACROSS + 1).astype(int).tolist()


def _planes(gray: np.ndarray) -> np.ndarray:
    """yuv420p without colour."""
    height, width = gray.shape
    out = np.full((height * 3 // 2, width), 128, np.uint8)
    out[:height] = gray
    return out


def _add(
    out: OutputContainer,
    codec: str,
    rate: Fraction,
    size: tuple[int, int],
    gop: int,
    b_frames: int,
    options: Mapping[str, str],
) -> VideoStream:
    stream = out.add_stream(codec, rate=rate)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"
    stream.gop_size = gop
    stream.max_b_frames = b_frames
    stream.thread_count = 1
    stream.options = {"threads": "1", **QUALITY.get(codec, {}), **options}
    return stream
