"""torch's DataLoader with messages for a user, workers that do not crowd each other, and a watchdog over them."""

import ctypes
import io
import logging
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from epicsub.data.batch import collate_views
from epicsub.data.packing import AT_REST, BUSY, Collate, Opened, Packed, Problem
from epicsub.errors import DataError
from epicsub.io.limits import FEWER, FILES, MEMORY, SHARED, describe_shortage, refuse_without_processes
from epicsub.progress import cores, hold_interrupts

MOST_WORKERS = 16
AHEAD = 4 * 1024**3  # bytes of batches that are read ahead, all workers together
MOST_AHEAD = 8  # batches of a worker, however small: more of them make no worker faster
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
POLL_SECONDS = 5  # seconds without a batch until the workers are checked
STUCK_AFTER = 300.0  # seconds at one item: even a view of a three-minute segment at 1080p takes a tenth of that
LONGEST_NAME = 128

log = logging.getLogger(__name__)


def make_loader(
    dataset: Dataset[Any],
    *,
    batch_sampler: Sampler[Any] | Sequence[list[int]] | None = None,
    batch_size: int | None = None,
    collate: Callable[[Sequence[Any]], Any] | None = None,
    workers: int | None = None,
) -> "ClipLoader":
    """A loader of `dataset`, by a batch sampler (or a list of batches) or in order by `batch_size`.

    Iterating raises `DataError` with all problems of a batch, as their messages were, also from a worker, and where a
    worker has been at one item for too long (see `STUCK_AFTER`).

    Args:
        dataset: `TrainClips` or `ViewClips`.
        batch_sampler: batches of indexes; instead of `batch_size`.
        batch_size: items of a batch, in order.
        collate: `collate_views` unless given.
        workers: processes; None takes one for each core that this process may use, from 1 to 16, and no more than
            batches fit `AHEAD`. With 0 the items are read in this process, and a decoder that is stuck stays so.

    Returns:
        The loader.

    Raises:
        ValueError: neither or both of `batch_sampler` and `batch_size`.
    """
    if (batch_sampler is None) == (batch_size is None):
        raise ValueError("either batch_sampler or batch_size")
    size = _batch_bytes(dataset, batch_sampler, batch_size)
    fitting = MOST_WORKERS if size is None else max(1, AHEAD // size)
    count = min(workers_of_machine(), fitting) if workers is None else workers
    ahead = None if size is None or not count else min(MOST_AHEAD, max(1, AHEAD // (size * count)))
    reporting = _ReportingDataset(dataset, count)
    return ClipLoader(
        reporting,
        batch_sampler=batch_sampler,
        batch_size=batch_size or 1,  # torch wants 1 beside a batch sampler
        collate_fn=Collate(collate or collate_views, reporting.since, count),
        num_workers=count,
        prefetch_factor=ahead,
        persistent_workers=count > 0,
        worker_init_fn=set_up_worker if count else None,
        pin_memory=torch.cuda.is_available(),
        timeout=POLL_SECONDS if count else 0,
    )


def _batch_bytes(dataset: Dataset[Any], batches: Any, batch_size: int | None) -> int | None:
    """Of the first batch, at least 1; None of what tells no size."""
    item: int | None = getattr(dataset, "item_bytes", None)
    return None if item is None else max(1, item * (batch_size or len(next(iter(batches), ()))))


def workers_of_machine() -> int:
    """Choose the number of workers; never 0, for the watchdog can only end another process.

    Returns:
        One worker per core that this process may use, from 1 to 16.
    """
    return min(cores(), MOST_WORKERS)


class ClipLoader(DataLoader[Any]):
    """A DataLoader that raises a worker's DataError as itself, and never waits for a batch that will not come.

    torch would raise it with the worker's traceback as its message, and only the first of a batch. It would also wait
    five seconds for each worker when an exception keeps the loader until the garbage collector takes it, because the
    collector closes the queues before the loader can stop its workers. A finalizer, which keeps them, does in time.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is what a loop needs
        with refuse_without_processes("data.workers=0"):
            batches = self._start()
        if self.num_workers and not hasattr(self, "_finalizer"):  # workers persist: there is one iterator
            self._finalizer = weakref.finalize(self, _stop_workers, batches, os.getpid())
        idle = 0
        while True:
            try:
                batch = next(batches)
                if isinstance(batch, Packed):
                    batch = batch.open()
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError, MemoryError) as error:
                if "timed out" not in str(error):
                    self._refuse_ended(batches, error)
                    raise
                self._refuse_stuck(batches)
                idle = idle + 1 if all(since == AT_REST for since in self._reporting.since) else 0
                if idle == 2:  # all have handed over what they read, and it has not come
                    self._refuse(batches, f"a batch was lost on its way from a worker: {SHARED}, or data.workers=0")
                continue
            idle = 0
            if isinstance(batch, Opened):
                self._tell(batch.note)
                batch = batch.batch
            if isinstance(batch, Problem):
                raise DataError(batch.message)
            yield batch

    def _start(self) -> Iterator[Any]:
        others = active_children()
        try:
            with hold_interrupts(signal.SIGTERM):  # of a job's end, before which the run writes its checkpoint
                return super().__iter__()
        except (OSError, MemoryError, RuntimeError) as error:
            _kill(worker for worker in active_children() if worker not in others)
            with redirect_stderr(io.StringIO()):  # torch looks after those that have started, and complains of the rest
                error.__traceback__ = None  # held them
            raise

    @property
    def _reporting(self) -> "_ReportingDataset":
        dataset: _ReportingDataset = self.dataset  # type: ignore[assignment]  # see `make_loader`
        return dataset

    def _tell(self, note: str) -> None:
        if note and not hasattr(self, "_told"):
            self._told = True
            log.warning("%s; until then batches are copied from process to process, which is slower", note)

    def _refuse_stuck(self, batches: Any) -> None:
        """End the workers and report what they were reading, if one of them is stuck.

        A decoder that loops in C never comes back and may hold Python's lock: only another process can end it.
        """
        stuck = self._reporting.stuck()
        if stuck:
            lines = "\n".join(f"{name}: a worker has been reading it for {seconds:.0f} s" for name, seconds in stuck)
            self._refuse(
                batches,
                f"{lines}\nthe decoder is stuck, its process has been ended: check the video with `epicsub data check "
                "--deep`, fetch it again, or leave the segment out with data.skip",
            )

    def _refuse_ended(self, batches: Any, error: BaseException) -> None:
        """Say of which worker the system or a decoder made an end, or which limit was met; other errors are ours."""
        if self.num_workers:
            if isinstance(error, EOFError | ConnectionError) or "DataLoader worker" in str(error):
                wait([worker.sentinel for worker in batches._workers], 1)
            for number, worker in enumerate(batches._workers):
                if worker.exitcode:
                    self._refuse(batches, self._how_it_ended(number, worker.exitcode))
        shortage = FILES if isinstance(error, EOFError | ConnectionError) else describe_shortage(error)
        if shortage is not None:  # the worker that closed the connection could open no more
            self._refuse(batches, f"{shortage}, or {FEWER}")

    def _how_it_ended(self, number: int, status: int) -> str:
        names = self._reporting.being_read(number)
        where = f"{names}: the process that read it" if names else "a process that reads clips"
        how = signal.strsignal(-status) if status < 0 else f"status {status}"
        if -status in (signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
            return (
                f"{where} has crashed ({how}): check the video with `epicsub data check --deep`, fetch it again, or "
                "leave the segment out with data.skip"
            )
        if -status == getattr(signal, "SIGBUS", None):
            return f"{where} has ended ({how}): {SHARED}; or the file was cut off while it was read"
        return f"{where} was ended by the system ({how}), most likely for {MEMORY}, or {FEWER}"

    def _refuse(self, batches: Any, message: str) -> None:
        if self.num_workers:
            _stop_workers(batches, os.getpid())
        raise DataError(message)


class _ReportingDataset(Dataset[Any]):
    """A dataset whose DataErrors are handed over as `Problem`, and whose workers report what they are reading.

    Args:
        dataset: to read from.
        workers: processes of its loader.
    """

    def __init__(self, dataset: Dataset[Any], workers: int = 0) -> None:
        self.dataset = dataset
        self.since = RawArray("d", [BUSY] * max(1, workers))  # shared with the workers, which start
        self._names = [RawArray("c", LONGEST_NAME) for _ in range(workers)]

    def __getitem__(self, index: Any) -> Any:
        info = get_worker_info()
        if info is not None:
            name = getattr(self.dataset, "name_of", repr)(index)
            self._names[info.id].value = name.encode()[: LONGEST_NAME - 1]
            self.since[info.id] = time.monotonic()
        try:
            return self.dataset[index]
        except DataError as error:
            return Problem(str(error))
        except (OSError, MemoryError, RuntimeError) as error:
            if (shortage := describe_shortage(error)) is None:
                raise
            return Problem(f"{shortage}, or {FEWER}")
        finally:
            if info is not None:
                self.since[info.id] = BUSY

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        """Items of a batch, in its order; read so that those which share their frames follow each other."""
        if (info := get_worker_info()) is not None:
            self.since[info.id] = BUSY
        frames_of = getattr(self.dataset, "frames_of", None)
        if frames_of is None:
            return [self[index] for index in indices]
        first: dict[Any, int] = {}
        order = sorted(range(len(indices)), key=lambda place: first.setdefault(frames_of(indices[place]), place))
        items = {place: self[indices[place]] for place in order}
        return [items[place] for place in range(len(indices))]

    def stuck(self) -> list[tuple[str, float]]:
        """Find workers that are stuck.

        Returns:
            Name of what each worker has been reading for over `STUCK_AFTER` seconds, and for how long.
        """
        now = time.monotonic()
        waits = [
            (name.value.decode(errors="replace"), now - since)
            for name, since in zip(self._names, self.since, strict=False)
            if since > AT_REST
        ]
        return [(name, seconds) for name, seconds in waits if seconds > STUCK_AFTER]

    def being_read(self, worker: int) -> str:
        """Name what a worker is reading.

        Args:
            worker: its number.

        Returns:
            Empty where it reads nothing.
        """
        return self._names[worker].value.decode(errors="replace") if self.since[worker] > AT_REST else ""

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # asked only of datasets that have one


def _stop_workers(batches: Any, process: int) -> None:
    if os.getpid() == process:  # not in a forked worker, which has a copy of this finalizer
        batches._shutdown_workers()
        _kill(getattr(batches, "_workers", ()))


def _kill(workers: Iterable[BaseProcess]) -> None:
    """End workers that did not end by themselves; SIGTERM, by which torch tries to, is held from them."""
    for worker in workers:
        if worker.is_alive():
            worker.kill()


def set_up_worker(worker: int) -> None:
    """Use one thread, because the workers are the parallelism, and keep memory from clip to clip.

    glibc gives blocks over 128 kB back to the system at once, and the system clears them for the next clip: a fifth of
    a worker's time on clips of the prepared store (measured: 82 clips per second, 104 with this).

    Args:
        worker: its number.
    """
    torch.set_num_threads(1)
    keep_memory(32 << 20, 256 << 20)  # the first is the most that glibc takes


def keep_memory(blocks: int, top: int) -> None:
    """Set when memory is given back to the system; only on Linux with glibc.

    Args:
        blocks: take blocks up to so many bytes from the heap.
        top: leave so many bytes at its top.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, blocks)
        mallopt(TRIM_THRESHOLD, top)
