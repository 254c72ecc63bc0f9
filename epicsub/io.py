"""Writing a file whole or not at all, locking one, and naming its content."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO


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


def locked(handle: IO) -> bool:
    """Lock an open file for this process until it ends, however it does; False where another one holds it.

    Raises:
        OSError: the file system cannot lock.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
