"""What several functions of the API take: names, where the data lies, which device, which protocol."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import user_path

if TYPE_CHECKING:
    import torch

    from epicsub.inference.targets import Target


def data_root(data: str | Path | None, recipe_root: str | None = None) -> DataRoot:
    """Find where the data lies.

    Args:
        data: the data root, if it is given.
        recipe_root: `data.root` of a recipe, if it has one.

    Returns:
        `data`, else the recipe's root, else $EPICSUB_DATA, else `data/`.
    """
    return DataRoot(data or recipe_root or os.environ.get("EPICSUB_DATA") or "data")


def root_to_write(data: str | Path | None, out: str | Path | None, written: str) -> DataRoot:
    """Find the data root that a command writes into.

    Args:
        data: as of `data_root`.
        out: another one, which is made of links to it, where it cannot be written.
        written: the folder that is going to be written.

    Returns:
        The root at `out`, else that of `data`.

    Raises:
        DataError: `out` cannot be made.
    """
    root = data_root(data)
    return root if out is None else link_root(root, user_path(out), written)


def device_of(name: "str | torch.device") -> "torch.device":
    """Find a device.

    Args:
        name: cpu, cuda, cuda:N, mps, or auto, which takes what the machine has.

    Returns:
        The device.

    Raises:
        InferenceError: this machine has none of that name; the message lists those that it has.
    """
    from epicsub.training.device import find_device  # with torch, which commands that run no model start without

    return find_device(name)


def as_list(names: str | Path | Sequence[str | Path]) -> list[str]:
    """Take one name or several.

    Args:
        names: checkpoints, runs, or files of predictions.

    Returns:
        The names as text.
    """
    return [str(name) for name in ([names] if isinstance(names, str | Path) else names)]


def protocol_of(targets: "Sequence[Target]") -> str | None:
    """The protocol under which targets are validated unless another is named.

    Args:
        targets: checkpoints or predictions.

    Returns:
        As the first checkpoint's recipe names it; None without a checkpoint.
    """
    named = (str(target.checkpoint.recipe["evaluation"]["protocol"]) for target in targets if target.checkpoint)
    return next(named, None)


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
