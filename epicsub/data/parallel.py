"""The same work on many things, one process a core, and one run at a time."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from epicsub.errors import DataError
from epicsub.io import try_lock

J = TypeVar("J")
R = TypeVar("R")


def in_processes(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[R]:
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


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Hold a folder against a second run, whose clearing up would delete the files of this one.

    Args:
        folder: made where it is missing.

    Yields:
        While the folder is held.

    Raises:
        DataError: another process holds it, or the file system cannot lock.
    """
    path = folder / ".lock"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = try_lock(path)
    except OSError as error:
        raise DataError(
            f"{path}: this file system cannot lock files ({error.strerror}), so two runs could spoil each other; write "
            "to a folder on another one"
        ) from error
    if lock is None:
        raise DataError(f"{folder}: another process is writing there; wait for it, or stop it")
    try:
        yield
    finally:
        lock.release()


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
