"""How a batch gets from a worker to the process that asked for it: packed by the worker itself, opened there."""

import errno
import os
import pickle
from collections.abc import Callable, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

from torch.utils.data import get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory

from epicsub.io.limits import FILES, SHARED, describe_shortage

BUSY, AT_REST = -1.0, 0.0  # in place of the second at which a worker began to read an item
FILES_OF_WORKER = 32  # that are open at once: a shared tensor is one, and two batches of some are on their way


class Problem(NamedTuple):
    """What a worker hands over instead of an item it could not read."""

    message: str


class Opened(NamedTuple):
    """A batch, and what lacked on its way."""

    batch: Any
    note: str


class Packed(NamedTuple):
    """A batch in bytes, as a worker sends it."""

    content: bytes
    note: str

    def open(self) -> Opened:
        """Unpack it.

        Returns:
            The batch.
        """
        return Opened(pickle.loads(self.content), self.note)  # bytes of our own worker

    def pin_memory(self) -> Opened:
        """Unpack it into page-locked memory; a DataLoader calls this.

        Returns:
            The batch.
        """
        return Opened(pin_memory(pickle.loads(self.content)), self.note)  # type: ignore[no-untyped-call]


class Collate:
    """Makes a batch of items or, where some could not be read, one problem of all theirs. A worker's are packed here.

    torch would pack them in a thread, where a shared memory that is too small, or one open file too many, loses the
    batch, and the loader waits for it for ever. Where that memory does not suffice, all goes through the pipe.

    Args:
        collate: makes a batch of items.
        since: of each worker, `AT_REST` when its batch is on its way.
        workers: processes of the loader.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], Any], since: Any, workers: int) -> None:
        self.collate, self.since = collate, since
        self.note = "" if has_descriptors(workers * FILES_OF_WORKER) else FILES

    def __call__(self, items: Sequence[Any]) -> Any:
        """Make a batch.

        Args:
            items: of the data set, or problems.

        Returns:
            A batch or a problem, packed where this process is a worker.
        """
        problems = dict.fromkeys(item.message for item in items if isinstance(item, Problem))
        batch = Problem("\n".join(problems)) if problems else self.collate(items)
        if (info := get_worker_info()) is None:
            return batch
        packed = self._pack(batch)
        self.since[info.id] = AT_REST
        return packed

    def _pack(self, batch: Any) -> Packed:
        if not self.note:  # once it has failed, it would again, and leave open files behind each time
            try:
                if not has_descriptors(FILES_OF_WORKER):
                    raise OSError(errno.EMFILE, "")
                return Packed(bytes(ForkingPickler.dumps(batch)), "")
            except (OSError, RuntimeError) as error:
                self.note = FILES if describe_shortage(error) == FILES else SHARED
        return Packed(pickle.dumps(batch), self.note)


def has_descriptors(count: int) -> bool:
    """Tell whether so many more files can be opened in this process.

    Args:
        count: of files.

    Returns:
        True if they can.
    """
    taken: list[int] = []
    try:
        while len(taken) < count:
            taken.append(os.dup(2))
    except OSError:
        return False
    finally:
        for number in taken:
            os.close(number)
    return True
