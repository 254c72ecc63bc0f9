"""Features of segments in place of their videos, joined on narration id, of whatever layout.

Layouts: epicsub's own folder (`store`), and those that others publish (`external`): pickles of the organisers' domain
adaptation challenge, a folder of single frames. Each is read as `Shard`s: narration ids and one tensor per modality.

Shape legend: N segments, T times of a segment, D entries of a feature.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from epicsub.errors import DataError
from epicsub.text import counted, first_of

IN_MEMORY = 2 * 1024**3  # bytes of a data set that are copied out of the mapped files, which takes a select by a third
CHUNK = 4096  # rows that are looked through for NaN at a time


@dataclass(frozen=True)
class Shard:
    """Some segments' features out of one file."""

    path: Path
    narration_ids: Sequence[str]
    tensors: Mapping[str, torch.Tensor]
    """(N, D) or (N, T, D) a modality; of epicsub's own files mapped, not read."""


class FeatureTable:
    """Features of one modality by narration id.

    Args:
        shards: all of one layout and of one data set.
        modality: which of their tensors.
        place: what the recipe calls them, for messages.

    Raises:
        DataError: a shard lacks the modality, shapes that do not fit each other, or a narration id that is there twice.
    """

    def __init__(self, shards: Sequence[Shard], modality: str, place: Path) -> None:
        self.place, self.modality = place, modality
        _check_shapes(shards, modality, place)
        self._shards = [shard.tensors[modality] for shard in shards]
        self._paths = [shard.path for shard in shards]
        self._rows = _rows_of(shards)
        self.dim = self._shards[0].shape[-1]
        self.times = self._shards[0].shape[1] if self._shards[0].ndim == 3 else None
        """T, or None where a segment has a single feature."""

    def __len__(self) -> int:
        return len(self._rows)

    def lacking(self, narration_ids: Iterable[str]) -> list[str]:
        """Find segments without features.

        Args:
            narration_ids: any ids.

        Returns:
            Those without features.
        """
        return [name for name in narration_ids if name not in self._rows]

    def select(self, narration_ids: Sequence[str]) -> "Selected":
        """Select segments.

        Args:
            narration_ids: N ids.

        Returns:
            Their features, in this order.

        Raises:
            DataError: segments without features, or with some that are not finite; all are counted, the first named.
        """
        if missing := self.lacking(narration_ids):
            raise DataError(self.lacks(missing))
        places = torch.tensor([self._rows[name] for name in narration_ids]).reshape(-1, 2)
        chosen = Selected(self._shards, places[:, 0], places[:, 1])
        bad = [narration_ids[row] for row in chosen.not_finite()]
        if bad:
            path = self._paths[self._rows[bad[0]][0]]
            raise DataError(f"{path}: {self.modality} features are not finite for {first_of(bad)}: make them again")
        return chosen

    def lacks(self, missing: Sequence[str]) -> str:
        """Describe segments without features.

        Args:
            missing: narration ids.

        Returns:
            The problem in one line.
        """
        there = ", ".join(list(self._rows)[:2])
        lacking = counted(len(missing), "segment", "segments")
        return (
            f"{self.place}: no {self.modality} features for {lacking}: {first_of(missing)} (it has "
            f"{len(self)}, such as {there}); make the rest with `epicsub data features`, or name them in data.skip"
        )


class Selected:
    """Rows of several tensors as if they were one; indexed with positions (B,) it gives (B, D) or (B, T, D).

    Args:
        shards: tensors (., D) or (., T, D).
        shard_N: the tensor of each row.
        row_N: its position there.
    """

    def __init__(self, shards: Sequence[torch.Tensor], shard_N: torch.Tensor, row_N: torch.Tensor) -> None:
        self._shards, self._shard_N, self._row_N = shards, shard_N, row_N

    def __len__(self) -> int:
        return len(self._row_N)

    def __getitem__(self, positions_B: torch.Tensor) -> torch.Tensor:
        shard_B, row_B = self._shard_N[positions_B], self._row_N[positions_B]
        used: list[int] = sorted(set(shard_B.tolist()))
        if len(used) == 1:
            return self._shards[used[0]].index_select(0, row_B).float()
        found = torch.empty((len(row_B), *self._shards[0].shape[1:]))
        for number in used:
            of_shard_B = shard_B == number
            found[of_shard_B] = self._shards[number].index_select(0, row_B[of_shard_B]).float()
        return found

    def not_finite(self) -> list[int]:
        """Find segments whose features hold NaN or infinity.

        Returns:
            Their positions.
        """
        bad: list[int] = []
        for begin in range(0, len(self), CHUNK):
            rows = self[torch.arange(begin, min(begin + CHUNK, len(self)))]
            bad += (begin + (~rows.flatten(1).isfinite().all(dim=1)).nonzero().flatten()).tolist()
        return bad

    @cached_property
    def in_memory(self) -> torch.Tensor:
        """All rows at once, (N, D) or (N, T, D)."""
        return self[torch.arange(len(self))]


def _check_shapes(shards: Sequence[Shard], modality: str, place: Path) -> None:
    without = [shard for shard in shards if modality not in shard.tensors]
    if without or not shards:
        there = ", ".join(sorted({name for shard in shards for name in shard.tensors})) or "nothing"
        where = without[0].path if without else place
        raise DataError(f"{where}: has no {modality} features; it has {there}")
    expected = shards[0].tensors[modality].shape[1:]
    problems = []
    for shard in shards:
        shape, count = tuple(shard.tensors[modality].shape), len(shard.narration_ids)
        if len(shape) not in (2, 3) or shape[0] != count or 0 in shape:
            problems.append(
                f"{shard.path}: {modality} features are {shape}, expected ({count}, D) or ({count}, T, D) for its "
                f"{counted(count, 'narration id', 'narration ids')}, {shard.narration_ids[0]} to "
                f"{shard.narration_ids[-1]}"
            )
        elif shape[1:] != expected:
            first = f"{tuple(expected)} in {shards[0].path.name}"
            problems.append(
                f"{shard.path}: {modality} features of {shard.narration_ids[0]} are {shape[1:]}, but {first}: "
                "make them all alike"
            )
    if problems:
        raise DataError("\n".join(problems))


def _rows_of(shards: Sequence[Shard]) -> dict[str, tuple[int, int]]:
    """Narration id -> shard and row."""
    rows: dict[str, tuple[int, int]] = {}
    twice: dict[tuple[Path, Path], list[str]] = {}
    for number, shard in enumerate(shards):
        for row, name in enumerate(shard.narration_ids):
            first = rows.setdefault(name, (number, row))
            if first != (number, row):
                twice.setdefault((shards[first[0]].path, shard.path), []).append(name)
    if twice:
        lines = [
            f"{second}: {counted(len(names), 'duplicate narration id', 'duplicate narration ids')}: {first_of(names)}"
            if first == second
            else f"{second}: {counted(len(names), 'narration id is', 'narration ids are')} in {first} too: "
            f"{first_of(names)}"
            for (first, second), names in twice.items()
        ]
        raise DataError("keep each narration id in one place:\n" + "\n".join(lines))
    return rows
