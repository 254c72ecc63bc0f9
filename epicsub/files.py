"""Looking for files: what the operating system says where it refuses, and walks through folders."""

import errno
import stat
from collections.abc import Iterator
from pathlib import Path

from epicsub.errors import DataError, EpicsubError

_OS_ADVICE = {
    errno.EACCES: "your user may not; change its mode (chmod) or that of a folder above it, or ask its owner",
    errno.EPERM: "your user may not; ask its owner",
    errno.ELOOP: "a link that leads back to itself; remove it",
    errno.EIO: "the disk or its server fails; try again, then another disk",
    errno.ESTALE: "the server of this disk has another file now; mount it again",
    errno.EMFILE: "raise `ulimit -n`, or take fewer --workers",
}


def os_reason(error: OSError, path: Path | None = None) -> str:
    """Tell why the operating system refused a file or folder.

    Args:
        error: what it raised.
        path: the file or folder; needed to tell a link without a target from nothing.

    Returns:
        Its reason, and for the usual ones what to do.
    """
    if path is not None and error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {path.readlink()}, which is not there"
    reason = error.strerror or str(error) or type(error).__name__
    advice = _OS_ADVICE.get(error.errno or 0)
    return f"{reason}: {advice}" if advice else reason


def check_readable(path: Path, failure: type[EpicsubError] = DataError) -> None:
    """Refuse a file that the operating system does not let this user read, before a library calls it damaged.

    Args:
        path: of a file; what is no plain file (a pipe, a folder) is left to its reader.
        failure: raised with the path and the reason.

    Raises:
        EpicsubError: of the kind `failure`: the file is missing or cannot be read.
    """
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):
            with open(path, "rb") as handle:
                handle.read(1)
    except OSError as error:
        raise failure(f"{path}: cannot be read: {os_reason(error, path)}") from error


def walk_files(folder: Path, denied: list[str] | None = None) -> Iterator[Path]:
    """List the files in a folder and below it. Links are followed; each folder is listed once, so that loops end.

    Args:
        folder: where to begin.
        denied: gets a line for each folder that cannot be listed.

    Yields:
        Files in order of their names, what lies in a folder before what lies below it. Links without a target count.

    Raises:
        OSError: a folder cannot be listed, and `denied` is not given.
    """
    waiting, seen = [Path(folder)], set()
    while waiting:
        here = waiting.pop(0)
        try:
            state = here.stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            entries = sorted(here.iterdir())
        except OSError as error:
            if denied is None:
                raise
            denied.append(f"{here}: cannot be listed: {os_reason(error, here)}")
            continue
        below = []
        for entry in entries:
            if is_folder(entry):
                below.append(entry)
            else:
                yield entry
        waiting[:0] = below


def is_folder(path: Path) -> bool:
    """Tell a folder from a file, also where the system does not let this user look.

    Args:
        path: any; links are followed.

    Returns:
        True for a folder.
    """
    try:
        return path.is_dir()
    except OSError:
        return False


def may_be_file(path: Path) -> bool:
    """Look for a file.

    Args:
        path: any; links are followed.

    Returns:
        True for a file, and where the system does not let this user look: what opens it then says why.
    """
    try:
        return path.is_file()
    except OSError:
        return True
