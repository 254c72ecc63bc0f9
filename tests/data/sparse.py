"""Videos whose every frame says its number, with only some of their frames there: long in time, short in work."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

BITS, ACROSS, BLOCK = 20, 5, 24  # a number: 20 blocks, black or white, five in a row
WIDTH, HEIGHT = ACROSS * BLOCK, BITS // ACROSS * BLOCK  # 120x96


def picture_of(number: int) -> np.ndarray:
    """(HEIGHT, WIDTH) uint8."""
    bits = np.array([number >> bit & 1 for bit in range(BITS)], np.uint8).reshape(-1, ACROSS)
    return np.kron(40 + 180 * bits, np.ones((BLOCK, BLOCK), np.uint8))


def number_in(picture: np.ndarray) -> int:
    """The number in (H, W) or (H, W, C), whatever its size and what compression did to it."""
    gray = np.asarray(picture, np.float64).reshape(*picture.shape[:2], -1).mean(-1)
    height, width = gray.shape[0] / (BITS // ACROSS), gray.shape[1] / ACROSS
    found = 0
    for bit in range(BITS):
        down, right = divmod(bit, ACROSS)
        inside = gray[
            int((down + 0.3) * height) : int((down + 0.7) * height),
            int((right + 0.3) * width) : int((right + 0.7) * width),
        ]
        found |= int(inside.mean() > 130) << bit
    return found


def write_sparse(path: Path, numbers: Iterable[int], rate: Fraction, flow: bool = False) -> Path:
    """An H.264 file of the frames `numbers` of a video of that rate. Flow: u is the picture, v its negative."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH * (2 if flow else 1), HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "18", "threads": "1", "g": "48"}
        for number in numbers:
            gray = picture_of(number)
            if flow:
                gray = np.concatenate((gray, 255 - gray), axis=1)
            planes = np.full((HEIGHT * 3 // 2, gray.shape[1]), 128, np.uint8)
            planes[:HEIGHT] = gray
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_jpegs(folder: Path, numbers: dict[int, int], base: int, flow: bool = False) -> Path:
    """The organisers' frames: {index from 0: number in the picture}."""
    for channel in ("u", "v") if flow else ("",):
        (folder / channel).mkdir(parents=True, exist_ok=True)
        for index, number in numbers.items():
            picture = picture_of(number) if channel != "v" else 255 - picture_of(number)
            cv2.imwrite(str(folder / channel / f"frame_{index + base:010d}.jpg"), picture)
    return folder
