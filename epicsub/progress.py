"""Progress of long work: a bar on a terminal, a plain line every few seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def track(
    items: Iterable[T], label: str, total: int, done: int = 0, weight: Callable[[T], float] = lambda item: 1
) -> Iterator[T]:
    """Show on stderr how much of some work is done: a bar on a terminal, lines in a log.

    Args:
        items: to pass on.
        label: what the work is.
        total: how much there is in all.
        done: how much was done before this began.
        weight: of an item, where items differ in work; then `total` and `done` are sums of weights.

    Yields:
        The items.
    """
    if sys.stderr.isatty():
        yield from _with_bar(items, label, total, done, weight)
    else:
        yield from _with_lines(items, label, total, done, weight)


def _with_bar(items: Iterable[T], label: str, total: int, done: int, weight: Callable[[T], float]) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task, weight(item))


def _with_lines(items: Iterable[T], label: str, total: int, done: int, weight: Callable[[T], float]) -> Iterator[T]:
    began = last = time.monotonic()
    first = through = float(done)
    for item in items:
        yield item
        through += weight(item)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or round(through) >= total:
            last = now
            left = (now - began) / max(through - first, 1e-9) * max(0.0, total - through)
            print(f"{label}: {through:.0f} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)
