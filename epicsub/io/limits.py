"""What the system does not let a process have, and what to set then."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from epicsub.errors import DataError

SHARED_MEMORY = "/dev/shm"
FILES = "too many open files: allow more (`ulimit -n 4096`)"
MEMORY = "not enough memory: allow more (--mem of a Slurm job, `docker run --memory`, `ulimit -v unlimited`)"
PROCESSES = "too many processes: allow more (`ulimit -u`, `docker run --pids-limit`)"
SHARED = f"{SHARED_MEMORY} is too small or cannot be written: make it larger (`docker run --shm-size=1g`)"
FEWER = (
    "read with fewer processes (data.workers=N of a recipe; where there is no recipe there is one per core, so "
    "`taskset -c 0,1 epicsub ...` has two)"
)

_BY_NUMBER = {errno.EMFILE: FILES, errno.ENFILE: FILES, errno.EAGAIN: PROCESSES, errno.ENOMEM: MEMORY}
# Locks between processes are files of the shared memory: what else than a want of it can keep them from being made?
_BY_NUMBER_AT_START = _BY_NUMBER | dict.fromkeys(
    (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOSYS), SHARED
)
_BY_TEXT = {
    "CUDA out of memory": "the GPU's memory does not suffice: take a smaller batch (`epicsub train --find-batch`), "
    "fewer views, or a larger GPU",
    "DataLoader worker": f"the system ended a process that reads clips, most likely for {MEMORY}, or {FEWER}",
    "allocate memory": MEMORY,
    "failed to map segment": MEMORY,
    "not enough memory": MEMORY,
    "bad_alloc": MEMORY,
    "start new thread": PROCESSES,
    "Too many open files": FILES,
    "ancillary data": FILES,
    "ancdata": FILES,
}


def describe_shortage(error: BaseException) -> str | None:
    """Recognise a limit of the system in an error.

    Args:
        error: any, of Python or PyTorch.

    Returns:
        What lacks and what to set; None for another error.
    """
    if isinstance(error, MemoryError):
        return MEMORY
    if isinstance(error, OSError):
        return _BY_NUMBER.get(error.errno or 0)
    if isinstance(error, RuntimeError | ImportError):
        return next((advice for text, advice in _BY_TEXT.items() if text in str(error)), None)
    return None


@contextmanager
def refuse_without_processes(instead: str) -> Iterator[None]:
    """Say which limit keeps processes from being started, or from talking to each other.

    Args:
        instead: setting with which none are needed.

    Yields:
        While processes are started.

    Raises:
        DataError: the system refuses; the message says what to set.
    """
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        advice = _BY_NUMBER_AT_START.get(error.errno or 0) if isinstance(error, OSError) else describe_shortage(error)
        if advice is None:
            raise
        raise DataError(f"no processes can be started: {advice}, or set {instead}") from error
