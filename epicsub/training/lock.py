"""One process at a time in a run's folder: two that train into it would write each other's checkpoints."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from epicsub.errors import TrainingError
from epicsub.io import locked

ORPHANS_SECONDS = 12.0  # a killed run's decoding workers, which hold its lock, look for their parent every 5 s


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/lock` until the end, in the first process of a run; the others belong to it and hold nothing.

    The file stays when the lock is given up: what counts is the lock (flock), which the system takes away with the
    process, however it ends. It names its holder for the message.

    Raises:
        TrainingError: another process trains into the folder, or the folder cannot be written or locked.
    """
    if not first_process():
        yield
        return
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from error
    with handle:
        _take(handle, path)
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        handle.flush()
        yield


def first_process() -> bool:
    """Whether this is the one process of a run, or the first of several."""
    return process_number() == 0


def process_number() -> int:
    """Which of a run's processes this is, by what started it; also before they know of each other."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def _take(handle: TextIOWrapper, path: Path) -> None:
    """Lock at once, or after the workers of a killed run have ended."""
    until = time.monotonic() + ORPHANS_SECONDS
    while not _locked(handle, path):
        holder = _holder(handle)
        if _may_live(holder) or time.monotonic() > until:
            raise TrainingError(
                f"{path.parent}: {holder or 'another process'} trains into this folder; "
                "wait for it, end it, or give another --out"
            )
        time.sleep(0.2)


def _locked(handle: TextIOWrapper, path: Path) -> bool:
    try:
        return locked(handle)
    except OSError as error:
        raise TrainingError(
            f"{path}: this file system cannot lock files ({error.strerror}), so two runs could spoil each other; "
            "give an --out on another one"
        ) from error


def _holder(handle: TextIOWrapper) -> str:
    handle.seek(0)
    return handle.read().strip()


def _may_live(holder: str) -> bool:
    """Whether the named process may be at work: it is on this machine and there, or on another and not to be asked."""
    words = holder.split()
    if len(words) < 4 or words[3] != socket.gethostname():
        return bool(words)
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
