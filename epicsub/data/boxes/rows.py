"""Raw rows of the detector of hands and objects of 100DOH (ddshan/hand_object_detector), an .npz a video.

`hands` and `objects`: (rows, 11) numbers, the frame number from 1 and the detector's ten: x1, y1, x2, y2 in pixels,
score, contact state, magnitude and direction (x, y) of the offset, side; of an object the last five mean nothing.
`size`: width and height of the pictures in pixels. `frames`: how many were looked at. `rate`: of their numbers, frames
per second; without it 60, or 50 for PXX_1YY.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from epicsub.data.boxes.detections import FrameDetections, Hand, Thing
from epicsub.errors import DataError
from epicsub.io.files import check_readable
from epicsub.unpickle import load_npz

OFFSET_PIXELS = 10_000
"""Pixels of an offset of magnitude 1: the detector's own code draws it so."""
_FORM = (
    "expected hands and objects (rows of 11: frame number from 1, then the detector's x1 y1 x2 y2 score state "
    "magnitude dx dy side), size (width, height) and frames (a count)"
)


class Rows(NamedTuple):
    """What such a file holds."""

    frames: list[FrameDetections]
    width: int
    height: int
    rate: float | None


def read_rows(path: Path) -> Rows:
    """Read raw rows of the detector.

    Args:
        path: of the .npz.

    Returns:
        Its detections, frame by frame.

    Raises:
        DataError: it cannot be read, or is not of that form.
    """
    check_readable(path)
    arrays = load_npz(path, DataError)
    lacks = [name for name in ("hands", "objects", "size", "frames") if name not in arrays]
    if lacks:
        raise DataError(f"{path}: lacks {', '.join(lacks)}; {_FORM}")
    hands, objects = (_table(path, name, arrays[name]) for name in ("hands", "objects"))
    size, count = np.asarray(arrays["size"]).ravel(), int(_number(path, "frames", arrays["frames"]))
    if len(size) != 2 or not (size > 0).all() or count < 1:
        raise DataError(f"{path}: size {size.tolist()} and frames {count}; {_FORM}")
    for name, table in (("hands", hands), ("objects", objects)):
        numbers = table[:, 0]
        if len(table) and not ((numbers >= 1) & (numbers <= count) & (numbers == np.rint(numbers))).all():
            raise DataError(f"{path}: {name} has frame numbers that are not 1 to {count}; {_FORM}")
    width, height = float(size[0]), float(size[1])
    found: list[tuple[list[Hand], list[Thing]]] = [([], []) for _ in range(count)]
    sides = np.array([width, height] * 2)
    for row in hands:
        offset = row[7] * OFFSET_PIXELS * row[8:10] / sides[:2]
        corners = tuple((row[1:5] / sides).tolist())
        hand = Hand(corners, float(row[5]), int(row[6]), (float(offset[0]), float(offset[1])), int(row[10]))
        found[int(row[0]) - 1][0].append(hand)
    for row in objects:
        found[int(row[0]) - 1][1].append(Thing(tuple((row[1:5] / sides).tolist()), float(row[5])))
    rate = float(_number(path, "rate", arrays["rate"])) if "rate" in arrays else None
    if rate is not None and not 0 < rate < 1000:
        raise DataError(f"{path}: rate {rate}: frames per second expected")
    return Rows([FrameDetections(*both) for both in found], round(width), round(height), rate)


def _number(path: Path, name: str, value: np.ndarray) -> float:
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise DataError(f"{path}: {name} is no single number; {_FORM}")
    return float(value.ravel()[0])


def _table(path: Path, name: str, value: np.ndarray) -> np.ndarray:
    table = np.asarray(value)
    if table.size == 0:
        return np.zeros((0, 11))
    if table.ndim != 2 or table.shape[1] != 11 or table.dtype.kind not in "iuf":
        raise DataError(f"{path}: {name} is {table.dtype} {table.shape}; {_FORM}")
    if not np.isfinite(table).all():
        raise DataError(f"{path}: {name} holds what is no finite number; {_FORM}")
    wide: np.ndarray = table.astype(np.float64)
    return wide
