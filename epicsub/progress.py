"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], label: str, total: int, done: int = 0) -> Iterator[T]:
    """Yield `items`, telling on stderr how many of `total` are through; `done` were through before this began."""
    if sys.stderr.isatty():
        yield from _with_bar(items, label, total, done)
    else:
        yield from _with_lines(items, label, total, done)


def _with_bar(items: Iterable[T], label: str, total: int, done: int) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def _with_lines(items: Iterable[T], label: str, total: int, done: int) -> Iterator[T]:
    began = last = time.monotonic()
    first = done
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            left = (now - began) / (done - first) * (total - done)
            print(f"{label}: {done} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)
