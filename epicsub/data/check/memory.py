"""What a deep check has found so far, so that a killed one can resume: a line per file."""

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

from epicsub.data.check.files import FileReport
from epicsub.data.root import DataRoot
from epicsub.io import user_path

FILE = "checked.jsonl"

log = logging.getLogger(__name__)


def memory_of(root: DataRoot) -> Path | None:
    """Find a place: in the data root or, where that cannot be written, in the user's cache. Checking needs none.

    Args:
        root: the data root.

    Returns:
        A file that can be added to; None where there is no place for one.
    """
    name = hashlib.blake2b(str(root.path.resolve()).encode(), digest_size=8).hexdigest()
    cache = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "epicsub" / f"{name}.{FILE}"
    why = ""
    for path in (root.path / FILE, cache):
        try:
            if path == cache:
                path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab"):
                pass
        except OSError as error:
            why += f"{path}: {error.strerror}; "
            continue
        if why:
            log.info("%swhat is checked is kept in %s", why, path)
        return path
    log.info("%swhat is checked is not kept: if this check is stopped, the next one begins again", why)
    return None


def remember(path: Path, report: FileReport) -> None:
    """Add a line; one that a kill cut off is ended first, so that it takes no other with it.

    Args:
        path: see `memory_of`; a disk that takes nothing more is logged.
        report: on one file.
    """
    try:
        with open(path, "ab+") as handle:
            if handle.tell():
                handle.seek(-1, os.SEEK_END)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")  # at the end, wherever the file was read
            handle.write(json.dumps(asdict(report)).encode() + b"\n")
    except OSError as error:
        log.warning("%s: what was checked of %s is not kept (%s)", path, report.path, error.strerror)


def remembered(path: Path) -> dict[str, FileReport]:
    """Read the reports of earlier checks and of their shards; a line that a kill cut off is left out.

    Args:
        path: see `memory_of`.

    Returns:
        By key of what they rest on.
    """
    known: dict[str, FileReport] = {}
    files = [file for file in (path, *sorted(path.parent.glob(f"{path.name}.*-of-*"))) if file.is_file()]
    for line in (line for file in files for line in file.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            values = json.loads(line)
            report = FileReport(**values | {"size": tuple(values["size"])})
        except (ValueError, TypeError, KeyError):
            continue
        known[report.key] = report
    return known
