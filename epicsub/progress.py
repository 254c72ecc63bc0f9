"""Long work: its progress (a bar on a terminal, a plain line every few seconds in a log), and many processes for it."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import resource_tracker
from typing import NamedTuple, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from epicsub.errors import DataError
from epicsub.io.limits import MEMORY, describe_shortage, refuse_without_processes

T = TypeVar("T")
R = TypeVar("R")
SECONDS_BETWEEN_LINES = 10.0
STARTED_BY = "EPICSUB_STARTED_BY"  # set by a run on several devices: the first process's id, and its number


class Position(NamedTuple):
    """How far some work is."""

    label: str
    through: float
    total: int
    kept: str = ""

    def __str__(self) -> str:
        """One line for the user who stops it."""
        return f"{self.label}: {self.through:.0f} of {self.total}" + (f" ({self.kept})" if self.kept else "")


_position: ContextVar[Position | None] = ContextVar("position", default=None)


def position() -> Position | None:
    """Tell how far the work of `track` is that was begun last.

    Returns:
        None where none is under way.
    """
    return _position.get()


def note_kept(what: str) -> None:
    """Say what of the work under way lies on the disk.

    Args:
        what: e.g. the last checkpoint.
    """
    if (now := _position.get()) is not None:
        _position.set(now._replace(kept=what))


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
    show = _with_bar if sys.stderr.isatty() else _with_lines
    outer, at = _position.get(), Position(label, done, total)
    _position.set(at)
    for item in show(items, label, total, done, weight):
        yield item
        now = _position.get()
        kept = now.kept if now and now.label == label else at.kept
        at = at._replace(through=at.through + weight(item), kept=kept)
        _position.set(at)
    _position.set(outer)


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


def in_processes(work: Callable[[T], R], jobs: Sequence[T], workers: int) -> Generator[R, None, None]:
    """Do the same work on many jobs, in processes that end with this one, or when the generator is closed.

    Args:
        work: picklable function of one job.
        jobs: what to do.
        workers: processes; with one, or one job, the work is done in this process.

    Yields:
        Results, as they finish.

    Raises:
        DataError: the system ended one of the processes, or lets none be started.
    """
    if workers == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of whatever runs here
    others = set(multiprocessing.active_children())
    with refuse_without_processes("--workers 1"):
        pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent)
    with pool:
        try:
            with refuse_without_processes("--workers 1"), hold_interrupts():
                futures = [pool.submit(work, job) for job in jobs]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise DataError(
                f"the system ended one of the processes, most likely for {MEMORY}, or run it again with fewer "
                "--workers; what is done is kept"
            ) from None
        except (OSError, MemoryError, RuntimeError) as error:
            if (shortage := describe_shortage(error)) is None:
                raise
            raise DataError(f"{shortage}, or run it again with fewer --workers; what is done is kept") from error
        except BaseException:  # also where this generator is closed: nobody wants the rest
            for process in set(multiprocessing.active_children()) - others:
                process.kill()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def hold_interrupts(*more: signal.Signals) -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, nor Slurm's signals to a whole job: this one ends them.

    In this one a signal comes when all have started.

    Args:
        more: signals that they must not get either.

    Yields:
        While they are started.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # else the first process would start it, and let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1, *more})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def process_number() -> int:
    """Give the number of this process of a run on several devices (see `training.processes`).

    Returns:
        From 0; the first process alone logs, prints and writes.
    """
    process, _, number = os.environ.get(STARTED_BY, "").partition(":")
    if process == str(os.getpid()):
        return int(number)
    started = process == str(os.getppid()) and os.environ.get("LOCAL_RANK", "").isdecimal()
    return int(os.environ["LOCAL_RANK"]) if started else 0


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
