"""What several functions of the API take: names, where the data lies, which device, which protocol."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from epicsub.data.linked import link_root
from epicsub.data.root import DataRoot
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
    from epicsub.training.devices import find_device  # with torch, which commands that run no model start without

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
