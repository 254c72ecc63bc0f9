"""Writing a file whole or not at all, locking a file or a folder, and naming a file's content."""

import errno
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import BinaryIO, Literal

from filelock import FileLock, Timeout

from epicsub.errors import DataError, EpicsubError
from epicsub.io.files import may_be_file, os_reason
from epicsub.io.limits import writing

_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}\.\w+")  # as `temporary_beside` names files


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, flush it to disk and rename it over `path`.

    After an exception or a kill, `path` is what it was before. The temporary name keeps the suffix, because some
    writers choose their format by it. A link stays, and the file that it leads to is written. What is no file (a
    device, a pipe, the standard output) is written to at the end, not replaced.

    Args:
        path: the file to write; `-` is the standard output.

    Yields:
        A temporary path.

    Raises:
        OSError: the folder cannot be made or written.
    """
    path = user_path(path)
    if is_stream(path):
        with TemporaryDirectory() as folder:
            temporary = Path(folder) / f"stream{path.suffix}"
            temporary.touch()
            yield temporary
            with open(temporary, "rb") as source, _open_stream(path) as target:
                shutil.copyfileobj(source, target)
        return
    path = path.resolve() if path.is_symlink() else path
    with temporary_beside(path) as temporary, writing(path):
        yield temporary
        flush(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


def is_stream(path: Path) -> bool:
    """Tell a device, a pipe or an open descriptor from a file.

    Args:
        path: of an output.

    Returns:
        True where there is something that can be written to and must not be replaced; for `-` too.
    """
    return _descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir())


def is_standard_output(path: Path) -> bool:
    """Tell whether what is written to a path mixes with what a command prints.

    Args:
        path: of an output.

    Returns:
        True for `-`, /dev/stdout and the like.
    """
    return _descriptor(path) == 1


def _descriptor(path: Path) -> int | None:
    """The number of the open file that a path stands for, through links: /dev/stdout is one to /proc/self/fd/1.

    It is written by number: opened again by its path, a file that the shell has redirected to would be cut to nothing.
    """
    if str(path) == "-":
        return 1
    for _ in range(40):  # as many links as Linux follows
        if path.name.isdecimal() and str(path.parent) in ("/dev/fd", "/proc/self/fd"):
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


def _open_stream(path: Path) -> BinaryIO:
    number = _descriptor(path)
    if number is None:
        return open(path, "wb")
    for printed in (sys.stdout, sys.stderr):
        if printed is not None:
            printed.flush()
    return os.fdopen(os.dup(number), "wb")


def user_path(name: str | Path) -> Path:
    """Read a path as a shell does, which leaves `~` alone within `--out=~/runs` and `data.root=~/kitchens`.

    Args:
        name: as a user has written it.

    Returns:
        The path, a leading `~` or `~name` replaced by the home folder of that user.
    """
    return Path(os.path.expanduser(name))  # noqa: PTH111  # Path.expanduser fails where there is no such user


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Create a temporary file.

    Args:
        path: the file that is to be written.

    Yields:
        A new path in the same folder with the same suffix; on leaving, nothing is there unless it was renamed.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix, delete=False) as handle:
            temporary = Path(handle.name)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def flush(temporary: Path) -> None:
    """Bring a temporary file to the disk, readable as any other file.

    Args:
        temporary: a file.
    """
    with open(temporary, "rb+") as handle:
        os.fsync(handle.fileno())
    temporary.chmod(0o666 & ~_umask())


def sync_folder(folder: Path) -> None:
    """Bring a folder's new names to the disk.

    Args:
        folder: whose entries changed.
    """
    if os.name == "nt":  # Windows opens no folder, and writes names through by itself
        return
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


@contextmanager
def hold_folder(folder: Path, part: str = "") -> Iterator[None]:
    """Hold a folder against a second run, whose clearing up would delete the files of this one.

    Args:
        folder: made where it is missing.
        part: of the work; parts do not keep each other out.

    Yields:
        While the folder is held.

    Raises:
        DataError: another process holds it, or the file system cannot lock.
    """
    path = folder / f".lock{part and f'-{part}'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = try_lock(path)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR):
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); write to another folder: --out DIR"
            ) from error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
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


def write_text(path: Path, text: str, failure: type[EpicsubError] | None = None) -> None:
    """Write `text` to `path`, whole or not at all.

    Args:
        path: the file to write.
        text: its content.
        failure: raised with the path and the reason where the place cannot be written.

    Raises:
        OSError: the place cannot be written, and no `failure` is given.
    """
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        if failure is None:
            raise
        raise failure(f"{path}: cannot be written: {os_reason(error)}") from error


def remove_leftovers(hidden: Iterable[Path], *suffixes: str) -> None:
    """Remove the temporary files that a killed run left behind, and no other hidden file.

    Args:
        hidden: files whose names begin with a dot.
        suffixes: of the files that were being written.
    """
    for path in list(hidden):
        if path.suffix in suffixes and _TEMPORARY.fullmatch(path.name) and may_be_file(path):
            path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Digest a file's content.

    Args:
        path: the file.

    Returns:
        Hexadecimal SHA-256 of its content.
    """
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def shipped(kind: Literal["recipes", "validation"]) -> Path:
    """Folder of the recipes or of the protocols that come with epicsub.

    Args:
        kind: `recipes`, or `validation` for the protocols.

    Returns:
        The folder inside the installed package, or the checkout's where the package runs from its repository.
    """
    package = Path(__file__).parents[1]
    inside = package / "shipped" / kind
    return inside if inside.is_dir() else package.parent / kind


def find_shipped(kind: Literal["recipes", "validation"], given: Path) -> Path:
    """The file that a user means by a path or by the name of a shipped file; the path of a file wins.

    Args:
        kind: `recipes`, or `validation` for the protocols.
        given: a path, or a name such as `mmir_i3d`, `tiny/mmir_i3d`, `ek100`; `validation/ek100.yaml` counts as the
            name `ek100` where there is no such path, because shipped recipes name their protocol so.

    Returns:
        The path of the file; `given` itself where neither is there.
    """
    given = user_path(given)
    if given.is_file() or given.is_absolute() or ".." in given.parts:
        return given
    name = given.relative_to(kind) if given.parts[:1] == (kind,) else given
    found = shipped(kind) / f"{str(name).removesuffix('.yaml')}.yaml"
    return found if found.is_file() else given


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
