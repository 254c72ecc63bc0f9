"""Long work: its progress (a bar on a terminal, a plain line every few seconds in a log), and many processes for it."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from epicsub.errors import DataError

T = TypeVar("T")
R = TypeVar("R")
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


def in_processes(work: Callable[[T], R], jobs: Sequence[T], workers: int) -> Iterator[R]:
    """Do the same work on many jobs, in processes that end with this one.

    Args:
        work: picklable function of one job.
        jobs: what to do.
        workers: processes; with one, or one job, the work is done in this process.

    Yields:
        Results, as they finish.

    Raises:
        DataError: the system ended one of the processes.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of whatever runs here
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise DataError(
                "the system ended one of the processes, most likely for want of memory: run it again with fewer "
                "--workers; what is done is kept"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Count the cores that this process may use.

    Returns:
        At least 1.
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
