"""epicsub's own features: a folder of safetensors shards and an index, written shard by shard, read by mapping.

FOLDER/index.json                    what made the features, and the narration ids of every whole shard, row by row
FOLDER/features-00000.safetensors    one tensor per modality: (N, D), or (N, V, D) for V views per segment

A shard is written whole before the index names it, and the index is replaced whole: whatever kills the writer, the
index names nothing but whole shards, after which the next run resumes.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from epicsub.data.features import FeatureTable, Shard
from epicsub.data.features.external import FRAMES, read_external
from epicsub.errors import DataError
from epicsub.io import atomic_write, hold_folder, remove_leftovers, write_text
from epicsub.io.files import read_text
from epicsub.text import first_of
from epicsub.unpickle import load_safetensors

log = logging.getLogger(__name__)
INDEX = "index.json"
FORMAT = 1
SHARD_SEGMENTS = 4096


class FeatureStore:
    """A folder of features that is being written.

    Args:
        folder: made if it is not there.
        made_by: what the features depend on (model, commit, recipe, views, ...), kept in the index. A folder that was
            begun with another `made_by` is refused, for features of two models would look like one data set.

    Raises:
        DataError: the folder holds features that something else made, or an index that cannot be read.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        plain = json.loads(json.dumps(made_by))
        self.shards: list[dict[str, Any]] = []
        if (self.folder / INDEX).is_file():
            index = read_index(self.folder)
            _refuse_other(self.folder, index["made_by"], plain)
            for entry in index["shards"]:
                if _is_whole(self.folder, entry):
                    self.shards.append(entry)
                else:
                    log.warning("%s: damaged or missing, its segments are made again", self.folder / entry["file"])
        remove_leftovers(self.folder.glob(".*"), ".safetensors", ".json")
        self.made_by = plain
        self.narration_ids = {name for entry in self.shards for name in entry["narration_ids"]}

    def add(self, narration_ids: Sequence[str], tensors: Mapping[str, torch.Tensor], origin: str = "the model") -> None:
        """Write one more shard.

        Args:
            narration_ids: N ids.
            tensors: (N, ...) per modality.
            origin: where the features come from, for messages.

        Raises:
            DataError: a feature is not finite, or the segments are there already.
            OSError: the disk is full; what was there before is untouched.
        """
        twice = [name for name in narration_ids if name in self.narration_ids]
        if twice:
            raise DataError(f"{self.folder}: has features of {first_of(twice)} already; name another folder with --out")
        for modality, x_ND in tensors.items():
            bad = (~x_ND.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
            if bad:
                names = first_of([narration_ids[row] for row in bad])
                raise DataError(
                    f"{origin}: {modality} features are not finite for {names}; nothing was "
                    "written: look at the weights that made them"
                )
        number = 1 + max((int(entry["file"][9:14]) for entry in self.shards), default=-1)
        file = f"features-{number:05d}.safetensors"
        with atomic_write(self.folder / file) as temporary:
            save_file({name: x_ND.contiguous() for name, x_ND in tensors.items()}, temporary)
        self.shards.append({"file": file, "narration_ids": list(narration_ids)})
        self.narration_ids.update(narration_ids)
        content = {"epicsub_features": FORMAT, "made_by": self.made_by, "shards": self.shards}
        write_text(self.folder / INDEX, json.dumps(content))


def read_index(folder: Path) -> dict[str, Any]:
    """Read the index of epicsub's own features.

    Args:
        folder: a folder of features.

    Returns:
        {"made_by": ..., "shards": [{"file", "narration_ids"}, ...]}.

    Raises:
        DataError: it is damaged, or no index of epicsub's features.
    """
    path = Path(folder) / INDEX
    try:
        content = json.loads(read_text(path, DataError))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no whole JSON; make the features again into another folder") from error
    if not isinstance(content, dict) or content.get("epicsub_features") != FORMAT:
        raise DataError(
            f"{path}: no index of features that this epicsub can read (epicsub_features {FORMAT}); make them again "
            "into another folder"
        )
    shards = content.get("shards")
    whole = isinstance(content.get("made_by"), dict) and isinstance(shards, list) and all(map(_is_entry, shards))
    if not whole:
        raise DataError(f"{path}: lacks made_by, or has shards without file name and narration ids; make them again")
    return content


def _is_entry(entry: object) -> bool:
    """Whether an entry of the index names a file of the same folder, and its segments."""
    if not isinstance(entry, dict) or not re.fullmatch(r"features-\d{5,9}\.safetensors", str(entry.get("file"))):
        return False
    names = entry.get("narration_ids")
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def read_store(folder: Path) -> list[Shard]:
    """Open epicsub's own features.

    Args:
        folder: a folder of features.

    Returns:
        The shards that the index names, mapped: nothing is read before it is used.

    Raises:
        DataError: the index or a shard is damaged or missing; all problems at once.
    """
    shards, problems = [], []
    for entry in read_index(folder)["shards"]:
        path = Path(folder) / entry["file"]
        try:
            shards.append(Shard(path, entry["narration_ids"], load_safetensors(path, DataError)))
        except DataError as error:
            problems.append(f"{error}; or run the same `epicsub data features` again, which mends it")
    if problems:
        raise DataError("\n".join(problems))
    return shards


def open_features(places: Mapping[str, Path]) -> dict[str, FeatureTable]:
    """Open features of any layout.

    Args:
        places: modality -> folder or file of any layout; one that several modalities share is read once.

    Returns:
        A table per modality.

    Raises:
        DataError: a place is missing, of no known layout, damaged or without the modality; all at once.
    """
    tables, problems = {}, []
    for modality, place in places.items():
        try:
            tables[modality] = FeatureTable(_shards_of(place, state_of(place)), modality, place)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    return tables


def state_of(place: Path) -> tuple[tuple[str, int, int], ...]:
    """Identify the content of a place without reading it.

    Args:
        place: a file or folder.

    Returns:
        Name, size and date of the file, or of every file that lies in the folder.
    """
    if not place.exists():
        return ()
    files = sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else [place]
    states = [(path.name, path.stat()) for path in files]
    return tuple((name, state.st_size, state.st_mtime_ns) for name, state in states)


@lru_cache(maxsize=4)
def _shards_of(place: Path, state: tuple[tuple[str, int, int], ...]) -> list[Shard]:
    """All shards of a place; the cache only saves reading gigabytes of pickles again while `state` is the same."""
    return read_store(place) if (place / INDEX).is_file() else read_external(place)


def made_by_digest(place: Path) -> str:
    """Identify the origin of features.

    Args:
        place: a file or folder of features.

    Returns:
        SHA-256 of what made them, the same while segments are added; of external features, of their path.
    """
    known = read_index(place)["made_by"] if (Path(place) / INDEX).is_file() else {"place": str(place)}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def repack(place: Path, out: Path, size: int = SHARD_SEGMENTS) -> tuple[int, int]:
    """Copy external features into epicsub's own layout, whose files are mapped instead of read.

    Args:
        place: file or folder; see `external`.
        out: folder to write.
        size: segments per file.

    Returns:
        Segments that were copied, and segments that were there.

    Raises:
        DataError: `place` holds no features, or another process writes to `out`.
    """
    shards = read_external(place)
    with hold_folder(out):
        store = FeatureStore(out, {"repacked": str(place), "frames": FRAMES})
        before = len(store.narration_ids)
        return write_all(store, shards, size), before


def write_all(store: FeatureStore, shards: Iterable[Shard], size: int = SHARD_SEGMENTS) -> int:
    """Copy shards into a store.

    Args:
        store: where to write.
        shards: features of another layout.
        size: segments per file.

    Returns:
        How many segments were written; those that the store has are left.
    """
    written = 0
    for shard in shards:
        todo = [row for row, name in enumerate(shard.narration_ids) if name not in store.narration_ids]
        for begin in range(0, len(todo), size):
            rows = todo[begin : begin + size]
            tensors = {name: x_ND[torch.tensor(rows)].float() for name, x_ND in shard.tensors.items()}
            store.add([shard.narration_ids[row] for row in rows], tensors, str(shard.path))
            written += len(rows)
    return written


def _is_whole(folder: Path, entry: Mapping[str, Any]) -> bool:
    try:
        tensors = load_safetensors(folder / entry["file"], DataError)
    except DataError:
        return False
    return all(len(x_ND) == len(entry["narration_ids"]) for x_ND in tensors.values())


def _refuse_other(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [f"{key} ({_short(before.get(key))}, now {_short(now.get(key))})" for key in {**before, **now}
               if before.get(key) != now.get(key)]  # fmt: skip
    if changed:
        raise DataError(
            f"{folder}: holds features made otherwise: {'; '.join(changed)}. Name another folder with --out, or remove "
            "this one"
        )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
