"""Writing a file whole or not at all, locking one, and naming its content."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

from filelock import FileLock, Timeout


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, flush it to disk and rename it over `path`.

    After an exception or a kill, `path` is what it was before. The temporary name keeps the suffix, because some
    writers choose their format by it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = Path(path)
    with temporary_beside(path) as temporary:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Give a new path beside `path` with its suffix; on leaving, nothing is there unless it was renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix, delete=False) as handle:
        temporary = Path(handle.name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def flush(temporary: Path) -> None:
    """Bring a temporary file to the disk, readable as any other file."""
    with open(temporary, "rb+") as handle:
        os.fsync(handle.fileno())
    temporary.chmod(0o666 & ~_umask())


def sync_folder(folder: Path) -> None:
    """Bring a folder's new names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def try_lock(path: Path, note: str = "") -> FileLock | None:
    """Lock a file until `release()` or the end of this process; forked workers do not share the lock.

    Args:
        path: the lock file, which stays when the lock is released.
        note: what the file says while the lock is held.

    Returns:
        The lock, or None where another process holds it.

    Raises:
        OSError: the file cannot be opened, or its file system cannot lock.
    """

    def write_note(descriptor: int) -> None:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, note.encode())

    lock = FileLock(path, blocking=False, fallback_to_soft=False, preserve_lock_file=True, on_acquired=write_note)
    try:
        lock.acquire()
    except Timeout:
        return None
    return lock


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
