"""Predictions of a checkpoint, kept beside it and found again by what they depend on.

A file `predictions/KEY.npz` in the run's folder is named by the SHA-256 of all that can change a number in it: the
checkpoint's bytes, the views, the segments and their times, size and date of every video read, the recipe's settings
of clips and model, the source of the packages that cut, decode and predict, the versions of what they stand on, and the
kind of device. A change of any of them is another key, so a stale file is never found. The content carries its own
SHA-256 and its whole key; a file that does not fit them is reported as damaged and made again. Deleting the folder is
always safe.
"""

import hashlib
import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicsub.data.annotations import Segment
from epicsub.data.boxes.store import boxes_path
from epicsub.data.decode.reader import choose_decoder
from epicsub.data.features.store import state_of
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import PredictionsError
from epicsub.io import atomic_write, sha256
from epicsub.modality import with_files
from epicsub.predictions import Predictions
from epicsub.recipe import Recipe

FOLDER = "predictions"
HOME = Path(__file__).parent.parent
log = logging.getLogger(__name__)
_ARRAYS = ("narration_ids", "verb_logprobs", "noun_logprobs")
_CODE = (
    "data",
    "models",
    "inference",
    "training/build.py",
    "training/device.py",
    "training/loaders.py",
    "modality.py",
    "predictions",
)
_LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "pytorchvideo",
    "transformers",
    "av",
    "torchcodec",
    "decord",
    "opencv-contrib-python-headless",
)
# settings of `data` that prediction ignores; what is read instead of `store` is in the videos
_NOT_CLIPS = {"root", "store", "source", "target", "skip", "augment", "workers", "synchronised"}


@dataclass(frozen=True)
class Made:
    """Predictions, and what they cost when they were made."""

    predictions: Predictions
    seconds: float
    """wall time of decoding and forward passes"""
    views: float
    """views per segment, on average: fewer than asked for where views are stopped early"""


def key_of(
    weights: str,
    recipe: Recipe,
    segments: Sequence[Segment],
    root: DataRoot,
    prepared: Collection[str],
    views: Views,
    stop: int,
    device: torch.device,
) -> dict[str, Any]:
    """Collect all that the predictions of a checkpoint depend on.

    Args:
        weights: SHA-256 of the checkpoint file.
        recipe: the checkpoint's.
        segments: to predict.
        root: where the videos lie.
        prepared: modalities read from the prepared store.
        views: views per segment.
        stop: see `targets.predictions_of`.
        device: where the model runs; its kind counts.

    Returns:
        Plain values.
    """
    if recipe.data.features:
        read: list[tuple[object, ...]] = [
            (name, *state_of(root.path / place)) for name, place in recipe.data.features.items()
        ]
    else:
        read = [*_videos(root, segments, with_files(recipe.data.modalities), prepared)]
    if recipe.data.boxes:
        read += [(name, *state_of(boxes_path(root.path, name))) for name in sorted({s.video_id for s in segments})]
    rows = sorted((s.narration_id, s.video_id, s.start, s.stop, s.start_frame, s.stop_frame) for s in segments)
    return {
        "weights": weights,
        "views": str(views),
        "stop": stop,
        "segments": _digest(json.dumps(rows).encode()),
        "videos": _digest(json.dumps(read).encode()),
        "data": recipe.data.model_dump(mode="json", exclude=_NOT_CLIPS)
        | {"decoder": choose_decoder(recipe.data.decoder)},
        "model": recipe.model.model_dump(mode="json", exclude={"weights"}),
        "precision": recipe.train.precision,
        "code": _code(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "device": device.type,
    }


def cache_file(checkpoint: Path, key: dict[str, Any]) -> Path:
    """Name the file of predictions.

    Args:
        checkpoint: path; the file lies in a folder beside it.
        key: see `key_of`.

    Returns:
        Its path.
    """
    return checkpoint.parent / FOLDER / f"{_digest(json.dumps(key, sort_keys=True).encode())[:20]}.npz"


def find_predictions(path: Path, key: dict[str, Any]) -> Made | None:
    """Read predictions that were kept.

    Args:
        path: see `cache_file`.
        key: that the file must carry.

    Returns:
        None where there are none, or a damaged file, which is logged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        header = json.loads(str(content["header"]))
        arrays = [content[name] for name in _ARRAYS]
        if header["key"] != key:
            raise PredictionsError("it was made for something else")
        if header["content"] != _content(arrays):
            raise PredictionsError("its content has changed")
        return Made(Predictions(*arrays), float(header["seconds"]), float(header["views"]))
    # A damaged zip fails in zipfile, zlib, json or numpy, each with exceptions of its own.
    except Exception as error:
        log.warning("%s: kept predictions are damaged (%s) and are made again", path, error)
        return None


def keep_predictions(path: Path, key: dict[str, Any], made: Made) -> None:
    """Write predictions under their key; a folder that cannot be written is logged.

    Args:
        path: see `cache_file`.
        key: see `key_of`.
        made: the predictions and their cost.
    """
    arrays = [getattr(made.predictions, name) for name in _ARRAYS]
    header = {"key": key, "content": _content(arrays), "seconds": made.seconds, "views": made.views}
    try:
        with atomic_write(path) as temporary:
            np.savez(temporary, header=np.array(json.dumps(header)), **dict(zip(_ARRAYS, arrays, strict=True)))
    except OSError as error:
        log.warning("%s: predictions cannot be kept for another time (%s)", path, error.strerror)


def _videos(
    root: DataRoot, segments: Sequence[Segment], modalities: Sequence[str], prepared: Collection[str]
) -> list[tuple[str, str, int, int]]:
    """Name, size and date of every file or folder that is read."""
    found = []
    for video in sorted({segment.video_id for segment in segments}):
        for modality in modalities:
            stored = modality in prepared
            path = root.prepared(video, modality) if stored else root.found(video, modality)
            state = path.stat() if path and path.exists() else None
            found.append(
                (
                    video,
                    f"prepared {modality}" if stored else modality,
                    state.st_size if state else -1,
                    state.st_mtime_ns if state else -1,
                )
            )
    table = root.path / "annotations" / "EPIC_100_video_info.csv"
    if table.is_file():
        found.append((table.name, sha256(table), 0, 0))
    return found


@cache
def _code() -> str:
    return _digest(*(f"{file.relative_to(HOME)}\n".encode() + file.read_bytes() for file in code_files()))


def code_files() -> list[Path]:
    """List the source files that can change a prediction.

    Returns:
        Their paths, sorted.
    """
    return sorted(
        file for part in _CODE for file in ([HOME / part] if part.endswith(".py") else (HOME / part).rglob("*.py"))
    )


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _content(arrays: Sequence[np.ndarray]) -> str:
    return _digest(*(f"{array.dtype} {array.shape}\n".encode() + array.tobytes() for array in arrays))


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
