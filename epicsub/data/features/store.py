"""epicsub's own features: a folder of safetensors shards and an index, written shard by shard, read by mapping.

FOLDER/index.json                    what made the features, and the narration ids of every whole shard, row by row
FOLDER/features-00000.safetensors    one tensor a modality: (N, D), or (N, V, D) for V views a segment

A shard is written whole before the index names it, and the index is replaced whole: whatever kills the writer, the
index names nothing but whole shards, and the next run goes on after them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from epicsub.data.features.table import Shard, some
from epicsub.errors import DataError
from epicsub.io import write_text, written_whole

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
        self.dropped: list[str] = []
        """Shards that the index named and that are damaged or gone: their segments are made again."""
        if (self.folder / INDEX).is_file():
            index = read_index(self.folder)
            _refuse_other(self.folder, index["made_by"], plain)
            for entry in index["shards"]:
                whole = _is_whole(self.folder, entry)
                (self.shards if whole else self.dropped).append(entry if whole else entry["file"])
        for pattern in (".features-*.safetensors", ".index.*.json"):
            for leftover in self.folder.glob(pattern):  # of a run that was killed
                leftover.unlink()
        self.made_by = plain
        self.narration_ids = {name for entry in self.shards for name in entry["narration_ids"]}

    def add(self, narration_ids: Sequence[str], tensors: Mapping[str, torch.Tensor], origin: str = "the model") -> None:
        """Write one more shard; `origin` is what messages call where the features come from.

        Raises:
            DataError: a feature is not finite, or the segments are there already.
            OSError: the disk is full; what was there before is untouched.
        """
        twice = [name for name in narration_ids if name in self.narration_ids]
        if twice:
            raise DataError(f"{self.folder}: has features of {some(twice)} already")
        for modality, x_ND in tensors.items():
            bad = (~x_ND.flatten(1).isfinite().all(dim=1)).nonzero().flatten().tolist()
            if bad:
                names = some([narration_ids[row] for row in bad])
                raise DataError(f"{origin}: {modality} features are not finite for {names}; they are not written")
        number = 1 + max((int(entry["file"][9:14]) for entry in self.shards), default=-1)
        file = f"features-{number:05d}.safetensors"
        with written_whole(self.folder / file) as temporary:
            save_file({name: x_ND.contiguous() for name, x_ND in tensors.items()}, temporary)
        self.shards.append({"file": file, "narration_ids": list(narration_ids)})
        self.narration_ids.update(narration_ids)
        content = {"epicsub_features": FORMAT, "made_by": self.made_by, "shards": self.shards}
        write_text(self.folder / INDEX, json.dumps(content))


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a folder of features: {"made_by": ..., "shards": [{"file", "narration_ids"}, ...]}.

    Raises:
        DataError: it is damaged, or no index of epicsub's features.
    """
    path = Path(folder) / INDEX
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make the features again into another folder") from error
    if not isinstance(content, dict) or content.get("epicsub_features") != FORMAT:
        raise DataError(f"{path}: no index of features that this epicsub can read (epicsub_features {FORMAT})")
    return content


def read_store(folder: Path) -> list[Shard]:
    """The shards that the index names, mapped: nothing is read before it is asked for.

    Raises:
        DataError: the index or a shard is damaged or missing; all problems at once.
    """
    shards, problems = [], []
    for entry in read_index(folder)["shards"]:
        path = Path(folder) / entry["file"]
        try:
            shards.append(Shard(path, entry["narration_ids"], load_file(path)))
        except (SafetensorError, OSError) as error:
            problems.append(f"{path}: cannot be read ({error}); run the same `epicsub data features` again to mend it")
    if problems:
        raise DataError("\n".join(problems))
    return shards


def made_by_digest(place: Path) -> str:
    """SHA-256 of what made the features of a folder, the same while segments are added; of others', of their place."""
    known = read_index(place)["made_by"] if (Path(place) / INDEX).is_file() else {"place": str(place)}
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def write_all(store: FeatureStore, shards: Iterable[Shard], size: int = SHARD_SEGMENTS) -> int:
    """Copy shards of another layout into a store, `size` segments a file; those it has are left. Returns how many."""
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
        tensors = load_file(folder / entry["file"])
    except (SafetensorError, OSError):
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
