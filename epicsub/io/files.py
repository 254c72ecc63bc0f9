"""Looking for files: what the operating system says where it refuses, texts, and walks through folders."""

import codecs
import errno
import os
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
    errno.ENOSPC: "make room, or choose another place, and run the same command again",
    errno.EDQUOT: "make room, or choose another place, and run the same command again",
    errno.EFBIG: "a quota or a limit (`ulimit -f`) is reached; raise it, or choose another place",
    errno.EROFS: "choose another place",
    errno.ENOENT: "see whether it was moved or deleted, or its disk taken away",
    errno.ENOTDIR: "a file stands where a folder should; name another place",
    errno.EISDIR: "it is a folder; name a file",
    errno.EMFILE: "raise `ulimit -n`, or take fewer --workers",
}

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # begins as UTF-16's does, so it stands first
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def os_reason(error: OSError, path: Path | None = None) -> str:
    """Tell why the operating system refused a file or folder, and what to do.

    Args:
        error: what it raised.
        path: the file or folder; needed to tell a link without a target from nothing.

    Returns:
        Its reason, and what to do.
    """
    if path is not None and error.errno == errno.ENOENT and path.is_symlink():
        return f"a link to {path.readlink()}, which is not there: mend or remove it"
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno and reason != os.strerror(error.errno):  # `writing` has told it already
        return reason
    return f"{reason}: {_OS_ADVICE.get(error.errno or 0, 'try again, or name another')}"


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


def read_text(path: Path, failure: type[EpicsubError]) -> str:
    """Read a text file in UTF-8, or in what its byte-order mark says.

    Args:
        path: the file.
        failure: raised where it cannot be read, with the path, the line and what to do.

    Returns:
        The text without the mark, its line ends as they are.

    Raises:
        EpicsubError: as `failure`.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        reason = os_reason(error, path) if path.is_symlink() else f"no such file; {_neighbours(path)}"
        raise failure(f"{path}: {reason}") from None
    except OSError as error:
        raise failure(f"{path}: cannot be read: {os_reason(error, path)}") from error
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line = len(before.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
        raise failure(
            f"{path}:{line}  cannot be read as text: byte 0x{error.object[error.start]:02X} is no "
            f"{encoding.removesuffix('-sig').upper()}; save the file as UTF-8 (in a spreadsheet: CSV UTF-8; on a "
            "command line: iconv -f CP1252 -t UTF-8)"
        ) from error
    if text[:100].count("\0") > 20:
        raise failure(f"{path}:1  holds zero bytes, as UTF-16 without a byte-order mark does; save the file as UTF-8")
    return text


def walk_files(folder: Path, denied: list[str] | None = None) -> Iterator[Path]:
    """List the files in a folder and below it. Links are followed, but for those to a folder above.

    Args:
        folder: where to begin.
        denied: gets a line for each folder that cannot be listed.

    Yields:
        Files in order of their names, what lies in a folder before what lies below it. Links without a target count.

    Raises:
        OSError: a folder cannot be listed, and `denied` is not given.
    """
    waiting, seen, top = [Path(folder)], set(), Path(folder).resolve()
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
            if not is_folder(entry):
                yield entry
            elif not (entry.is_symlink() and top.is_relative_to(entry.resolve())):
                below.append(entry)
        waiting[:0] = below


def printable(path: Path) -> str:
    """Write a path so that every terminal and file can take it.

    Args:
        path: whose name may be in any encoding.

    Returns:
        The path; bytes that are no UTF-8 are escaped.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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


def _neighbours(path: Path) -> str:
    """What there is instead of a file: those of the same kind beside it."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} is not there either, name another"
    beside = sorted(file.name for file in path.parent.iterdir() if file.suffix == path.suffix)
    return f"{path.parent} holds {', '.join(beside) if beside else f'no {path.suffix} file'}"
