"""Shares of a long work for jobs side by side: `--shard 2/8`, or the place of a job in an array of Slurm's.

What a share has depends on the whole list and on nothing that is done already, so that any may be run again.
"""

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from epicsub.errors import DataError

T = TypeVar("T")
ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_COUNT")


class Shard(NamedTuple):
    """One of several equal shares."""

    number: int
    """From 1."""
    of: int

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.number}/{self.of}"

    def share(self, items: Sequence[T]) -> list[T]:
        """Take this share: every `of`-th item.

        Args:
            items: the whole list, in the same order in all shares.

        Returns:
            This share's items, in order.
        """
        return list(items[self.number - 1 :: self.of])


def shard_of(text: str | None) -> Shard | None:
    """Read `--shard`, or take the place in an array of Slurm's where there is none.

    Args:
        text: I/N, I from 1; None where the option is not given.

    Returns:
        None for all the work.

    Raises:
        DataError: it is no such pair.
    """
    if text is not None:
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise DataError(f"--shard {text}: expected I/N, e.g. 2/8 for the second of eight shares")
        return Shard(int(found[1]), int(found[2]))
    values = [os.environ.get(name, "") for name in ARRAY]
    if not all(value.isdecimal() for value in (values[0], values[3])) or int(values[3]) < 2:
        return None
    first, step = (int(value) if value.isdecimal() else default for value, default in ((values[1], 0), (values[2], 1)))
    return Shard((int(values[0]) - first) // max(1, step) + 1, int(values[3]))


def missing_shards(items: Sequence[T], undone: Iterable[T], of: int) -> list[int]:
    """Name the shares that are not done.

    Args:
        items: the whole list.
        undone: those of them that are not there.
        of: number of shares.

    Returns:
        Numbers from 1, rising.
    """
    place = {item: number for number, item in enumerate(items)}
    return sorted({place[item] % of + 1 for item in undone})


def refuse_missing(missing: Sequence[int], of: int, what: str) -> None:
    """Stop where shares are missing.

    Args:
        missing: their numbers.
        of: number of shares.
        what: of which they are.

    Raises:
        DataError: naming them.
    """
    if missing:
        numbers = ", ".join(map(str, missing))
        raise DataError(
            f"{what}: of {of} shards these are missing or not whole: {numbers}. Run each again with --shard I/{of} "
            "(the task numbers of an array that begins with 0 are one less)"
        )
