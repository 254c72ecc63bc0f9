"""Videos whose frames say their number, with only some of them there, or drawn: long in time, short in work."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

BITS, ACROSS, BLOCK = 20, 5, 24  # a number: 20 blocks, black or white, five in a row
WIDTH, HEIGHT = ACROSS * BLOCK, BITS // ACROSS * BLOCK  # 120x96
GROUP = 48  # frames from a keyframe to the next


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


def frame_of(gray: np.ndarray) -> av.VideoFrame:
    """Of that luma (HEIGHT, W) and no colour."""
    planes = np.full((HEIGHT * 3 // 2, gray.shape[1]), 128, np.uint8)
    planes[:HEIGHT] = gray
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def write_sparse(path: Path, numbers: Iterable[int], rate: Fraction, flow: bool = False) -> Path:
    """An H.264 file of the frames `numbers` of a video of that rate. Flow: u is the picture, v its negative."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH * (2 if flow else 1), HEIGHT, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "18", "threads": "1", "g": str(GROUP)}
        for number in numbers:
            gray = picture_of(number)
            if flow:
                gray = np.concatenate((gray, 255 - gray), axis=1)
            frame = frame_of(gray)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_whole(path: Path, parts: Iterable[tuple[int, int]], rate: Fraction) -> Path:
    """An H.264 file that lacks no frame up to the last of `parts`, numbered in those: groups first to last of each.

    The gray group between them is encoded once and written again and again: an hour takes a second.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = [group for first, last in parts for group in range(first, last + 1)]
    numbers = [n for group in drawn for n in range(group * GROUP, (group + 1) * GROUP)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        fixed = f"keyint={GROUP}:min-keyint={GROUP}:scenecut=0:bframes=0"
        stream.options = {"preset": "veryfast", "crf": "18", "threads": "1", "x264-params": fixed}
        gray, packets = np.full((HEIGHT, WIDTH), 128, np.uint8), []
        for place, picture in enumerate([*[gray] * GROUP, *map(picture_of, numbers)]):
            frame = frame_of(picture)
            frame.pts, frame.time_base = place, 1 / rate
            packets += stream.encode(frame)
        data = [bytes(packet) for packet in [*packets, *stream.encode()]]
        groups = {group: data[place * GROUP :][:GROUP] for place, group in enumerate(drawn, start=1)}
        for group in range(max(drawn) + 1):
            for place, content in enumerate(groups.get(group, data[:GROUP])):
                packet = av.Packet(content)
                packet.stream, packet.time_base, packet.is_keyframe = stream, 1 / rate, place == 0
                packet.pts = packet.dts = group * GROUP + place
                container.mux(packet)
    return path


def write_jpegs(folder: Path, numbers: dict[int, int], base: int, flow: bool = False) -> Path:
    """The organisers' frames: {index from 0: number in the picture}."""
    for channel in ("u", "v") if flow else ("",):
        (folder / channel).mkdir(parents=True, exist_ok=True)
        for index, number in numbers.items():
            picture = picture_of(number) if channel != "v" else 255 - picture_of(number)
            cv2.imwrite(str(folder / channel / f"frame_{index + base:010d}.jpg"), picture)
    return folder
