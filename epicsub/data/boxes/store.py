"""One file of hands and objects a video: boxes/P01/P01_01.safetensors, written whole, read through a memory map."""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from epicsub.data.boxes.detections import Arrays
from epicsub.data.decode import HALF_MILLISECOND
from epicsub.data.layout import participant
from epicsub.errors import DataError
from epicsub.io import atomic_write
from epicsub.io.files import check_readable, os_reason

FOLDER, SUFFIX = "boxes", ".safetensors"
_FORMAT = 1
_AGAIN = "run `epicsub data boxes` again"
_TYPES = {"U8": np.uint8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32}
_EXPECTED = {
    "hands": ("U16", 5), "offsets": ("I16", 2), "states": ("U8", None), "sides": ("U8", None), "objects": ("U16", 5),
    "hand_starts": ("U32", None), "object_starts": ("U32", None),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Note:
    """What a file of boxes says of itself."""

    detector: str
    """official, rows, mediapipe, or what a study calls it."""
    source: Mapping[str, Any]
    """Name and bytes of the file that it was made of, and what else made it what it is; the md5 where it matters."""
    rate: float
    """Frames per second of the frame numbers."""
    width: int
    """Pixels of the pictures that the detector saw."""
    height: int
    absent: int = 0
    """Frames between the first and the last that the source lacks; they have no box."""
    format: int = _FORMAT


@dataclass(frozen=True)
class VideoBoxes:
    """The boxes of a video, on the disk until they are used."""

    path: Path
    note: Note
    arrays: Arrays

    def frames_at(self, times: np.ndarray) -> np.ndarray:
        """Find the frames on show at given times.

        Args:
            times: (T,) seconds after the start of the video.

        Returns:
            (T,) their numbers from 0, the nearest one where a time is outside the video.
        """
        numbers = np.floor((times + HALF_MILLISECOND) * self.note.rate)
        return np.asarray(np.clip(numbers, 0, self.arrays.frames - 1).astype(np.int64))


def boxes_path(root: Path, video_id: str) -> Path:
    """Name the file of a video's boxes.

    Args:
        root: the data root.
        video_id: like P01_01.

    Returns:
        The path, whether there is a file or not.
    """
    return root / FOLDER / participant(video_id) / f"{video_id}{SUFFIX}"


def write_boxes(path: Path, arrays: Arrays, note: Note) -> None:
    """Write the boxes of a video, whole or not at all.

    Args:
        path: of the file.
        arrays: the boxes.
        note: what the file says of itself.
    """
    tensors = {field.name: np.ascontiguousarray(getattr(arrays, field.name)) for field in fields(Arrays)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={"epicsub": json.dumps(asdict(note), sort_keys=True)})


def read_note(path: Path) -> Note | None:
    """Read what a file of boxes says of itself.

    Args:
        path: of the file.

    Returns:
        None where there is no file, or none that is whole and of this format.
    """
    try:
        return open_boxes(path).note
    except DataError:
        return None


def open_boxes(path: Path) -> VideoBoxes:
    """Map the boxes of a video.

    Args:
        path: of the file.

    Returns:
        The boxes, which stay on the disk until they are used.

    Raises:
        DataError: it is missing, damaged or not of this format.
    """
    check_readable(path)
    try:
        whole = np.asarray(np.memmap(path, np.uint8, "r"))
        (length,) = struct.unpack("<Q", whole[:8].tobytes())
        header = json.loads(whole[8 : 8 + length].tobytes())
        note = Note(**json.loads(header.pop("__metadata__")["epicsub"]))
        content = whole[8 + length :]
        arrays = Arrays(**{name: _mapped(content, header[name], *row) for name, row in _EXPECTED.items()})
        _check(arrays, note)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {os_reason(error, path)}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, OverflowError) as error:
        raise DataError(f"{path}: is no whole file of boxes: {_AGAIN}") from error
    return VideoBoxes(path, note, arrays)


def _mapped(content: np.ndarray, entry: Mapping[str, Any], kind: str, columns: int | None) -> np.ndarray:
    begin, end = entry["data_offsets"]
    if entry["dtype"] != kind or end > len(content) or entry["shape"][1:] != ([] if columns is None else [columns]):
        raise ValueError
    array: np.ndarray = content[begin:end].view(_TYPES[kind]).reshape(entry["shape"])
    return array


def _check(arrays: Arrays, note: Note) -> None:
    """Look at the ends of the arrays alone: a file that was written whole has the rest."""
    hands, objects = len(arrays.hands), len(arrays.objects)
    ends = (int(arrays.hand_starts[-1]), int(arrays.object_starts[-1]))
    rows = (len(arrays.offsets), len(arrays.states), len(arrays.sides))
    frames = {len(arrays.hand_starts), len(arrays.object_starts)}
    if (
        note.format != _FORMAT
        or ends != (hands, objects)
        or rows != (hands,) * 3
        or len(frames) != 1
        or not note.rate > 0
    ):
        raise ValueError
    if arrays.frames < 1:
        raise ValueError
