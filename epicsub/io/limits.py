"""What the system does not let a process have, and why a disk refuses what is written to it; and what to do then."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from epicsub.errors import DataError, EpicsubError
from epicsub.io.files import os_reason
from epicsub.text import sized

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


_FEW_NAMES = 8  # a command makes a folder and some files at a time
_PROBE = 1 << 20  # bytes that are written to see whether a disk is full


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what any library raises where the disk refuses into one error of the operating system, with place and room.

    torch, safetensors and FFmpeg say in words of their own, or with no reason at all, that a disk is full.

    Args:
        path: the file that is being written.

    Yields:
        While it is written.

    Raises:
        OSError: the place cannot be written; `strerror` says why, how much room there is and what to do.
    """
    try:
        yield
    except EpicsubError:
        raise
    except Exception as error:
        refused = _refusal(error) or _probe(path.parent)
        if refused is None:
            raise
        raise OSError(refused.errno, _reason_with_room(refused, path.parent), str(path)) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """The error of the operating system that led to another."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in errno.errorcode and error.errno != errno.EPIPE:
            return error
        error = error.__cause__ or error.__context__
    return None


def _probe(folder: Path) -> OSError | None:
    """Why a little more cannot be written to a folder; None where it can."""
    try:
        with TemporaryFile(dir=folder) as handle:
            handle.write(bytes(_PROBE))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        return error
    return None


def _reason_with_room(error: OSError, folder: Path) -> str:
    reason = os.strerror(error.errno or 0)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return os_reason(OSError(error.errno, reason))
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    room = shutil.disk_usage(folder)
    names = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if names and names.f_files and names.f_favail < _FEW_NAMES and room.free > _PROBE:
        return (
            f"{reason}: the disk holds as many files as it can (`df -i`: {names.f_favail} of {names.f_files} inodes "
            "free); delete small files, or choose another place, and run the same command again"
        )
    return (
        f"{reason} ({sized(room.free)} of {sized(room.total)} free); make room, or choose another place, and run the "
        "same command again"
    )
