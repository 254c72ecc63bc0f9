"""Why a disk refuses what is written to it, whatever library writes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from epicsub.errors import EpicsubError
from epicsub.io.files import os_reason
from epicsub.text import sized

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
        raise OSError(refused.errno, _told(refused, path.parent), str(path)) from error


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


def _told(error: OSError, folder: Path) -> str:
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
