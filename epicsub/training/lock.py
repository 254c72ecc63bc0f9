"""One process at a time in a run's folder: two that train into it would overwrite each other's checkpoints."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from epicsub.errors import TrainingError
from epicsub.io import try_lock


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/lock` for the block, in the first process of a run; the others belong to it and hold nothing.

    The file stays when the lock is released. It names its holder, for the message to a second run.

    Args:
        folder: the run's folder, made where it is missing.

    Args:
        folder: the run's folder, made where it is missing.

    Yields:
        While the folder is held.

    Raises:
        TrainingError: another process trains into the folder, or the folder cannot be written or locked.
    """
    if not first_process():
        yield
        return
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from error
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        lock = try_lock(path, f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
    except OSError as error:
        raise TrainingError(
            f"{path}: this file system cannot lock files ({error.strerror}), so two runs could spoil each other; "
            "give an --out on another one"
        ) from error
    if lock is None:
        raise TrainingError(
            f"{folder}: {_holder(path)} trains into this folder; wait for it, end it, or give another --out"
        )
    try:
        yield
    finally:
        lock.release()


def first_process() -> bool:
    """Tell whether this is the first of a run's processes.

    Returns:
        True in a run of one process.
    """
    return process_number() == 0


def process_number() -> int:
    """Give the number of this process of a run.

    Returns:
        From 0, by what started the process, so also before the processes know of each other.
    """
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:  # Windows lets nobody read what is locked
        return "another process"
