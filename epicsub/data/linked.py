"""A data root beside one that cannot be written: links to all that is there, and a folder to write in."""

import logging
from pathlib import Path

from epicsub.data.root import DataRoot
from epicsub.errors import DataError

log = logging.getLogger(__name__)


def link_root(root: DataRoot, out: Path, written: str) -> DataRoot:
    """Make a data root of links to another's folders; in `written` each file is a link, so that others can be added.

    Args:
        root: the other; it is only read.
        out: the new one. What is there already stays.
        written: folder under it that is going to be written: annotations, flow or prepared.

    Returns:
        The new root.

    Raises:
        DataError: there is no such root, one root lies in the other, or `out` cannot be written.
    """
    here, there = root.path.resolve(), out.resolve()
    if not here.is_dir():
        raise DataError(f"{root.path}: no such folder, so no data root to link to; name it with --data DIR")
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"--out {out}: lies in the data root {root.path} or around it; choose a folder beside it")
    try:
        (out / written).mkdir(parents=True, exist_ok=True)
        for place in here.iterdir():
            if place.name == written:
                _link_files(place, out / written)
            elif not place.name.startswith("."):
                _link(place, out / place.name)
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror}); choose another folder") from error
    log.info("%s is a data root with links to %s: give --data %s to what reads it", out, root.path, out)
    return DataRoot(out)


def _link_files(folder: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    for place in folder.iterdir():
        if place.is_dir():
            _link_files(place, out / place.name)
        elif not place.name.startswith("."):
            _link(place, out / place.name)


def _link(place: Path, link: Path) -> None:
    if not link.exists():
        link.unlink(missing_ok=True)  # one that leads nowhere
        link.symlink_to(place)
