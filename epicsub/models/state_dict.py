"""State dicts that others wrote: taken out of their wrappers, their names made those of the module.

A training loop wraps the weights (`{"state_dict": ..., "epoch": 3}`), and what wraps the model lengthens its names:
`module.` of DataParallel, DistributedDataParallel and averaged models, `_orig_mod.` of torch.compile, `model.` or
`net.` of a LightningModule.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from epicsub.errors import ModelError
from epicsub.text import name_some
from epicsub.unpickle import load_safetensors, load_torch

log = logging.getLogger(__name__)
# Averaged weights first, as timm reads them: they are what a published score is of.
WRAPPERS = (
    "state_dict_ema", "model_state_dict_ema", "ema_state_dict", "model_ema", "ema_model", "ema", "params_ema", "shadow",
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params",
)  # fmt: skip
# Of torch.compile, FSDP, activation checkpointing and Lightning's DeepSpeed: before any name, and within it.
_INSERTED = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
_PREFIXES = ("module", "model", "net", "network")
_DEEPEST = 3  # wrappers or prefixes around each other


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file (.safetensors, or what `torch.save` wrote), without running anything it carries.

    Args:
        path: the file.

    Returns:
        Tensors by name, out of the wrapper that a training loop put around them.

    Raises:
        ModelError: the file cannot be read, or holds something else than named tensors.
    """
    if path.suffix.lower() == ".safetensors":
        return load_safetensors(path, ModelError)
    content = _unwrapped(load_torch(path, ModelError), path)
    if not isinstance(content, Mapping) or not content:
        found = "nothing" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ModelError(f"{path}: holds {found}, not named tensors; name a file of a state dict")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise ModelError(
            f"{path}: holds more than tensors ({name_some(others, 8)}), and none of the entries known to hold weights "
            f"({', '.join(WRAPPERS)}); name a file of weights alone"
        )
    return {str(name): value for name, value in content.items()}


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take away what compiled, parallel and averaged models put before all names.

    Args:
        tensors: by name.

    Returns:
        The same tensors under shorter names.
    """
    named = {".".join(part for part in name.split(".") if part not in _INSERTED): x for name, x in tensors.items()}
    if "n_averaged" in named and len(named) > 1:  # a counter of torch.optim.swa_utils.AveragedModel
        del named["n_averaged"]
    for _ in range(_DEEPEST):
        if not named or not all(name.startswith("module.") for name in named):
            break
        named = {name.removeprefix("module."): x for name, x in named.items()}
    return named


def with_own_names(tensors: Mapping[str, Tensor], is_own: Callable[[str], bool], path: Path) -> dict[str, Tensor]:
    """Take away the prefix under which most tensors have names that the module knows; what lies beside it is logged.

    Args:
        tensors: by the names in the file.
        is_own: whether the module has a tensor of this name.
        path: the file, for the log.

    Returns:
        The tensors under the prefix, by their names without it; all of them where no prefix helps.
    """
    named = plain_names(tensors)
    prefixes = {""}
    for name in named:
        parts = name.split(".")
        for depth in range(_DEEPEST):
            if parts[depth : depth + 1] == [] or parts[depth] not in _PREFIXES:
                break
            prefixes.add(".".join(parts[: depth + 1]) + ".")
    best = max(
        sorted(prefixes, key=len),
        key=lambda prefix: sum(name.startswith(prefix) and is_own(name[len(prefix) :]) for name in named),
    )
    beside = [name for name in named if not name.startswith(best)]
    if beside:
        log.info("%s: weights are read from its %s*; left out: %s", path, best, name_some(beside, 5))
    return {name.removeprefix(best): x for name, x in named.items() if name.startswith(best)}


def _unwrapped(content: Any, path: Path) -> Any:
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping):
            break
        found = [name for name in WRAPPERS if _holds_tensors(content.get(name))]
        if not found:
            break
        if len(found) > 1:
            log.info("%s: weights are read from its %s; it also has %s", path, found[0], ", ".join(found[1:]))
        content = content[found[0]]
    return content


def _holds_tensors(value: Any, depth: int = _DEEPEST) -> bool:
    if not isinstance(value, Mapping) or depth == 0:
        return False
    return any(isinstance(entry, Tensor) or _holds_tensors(entry, depth - 1) for entry in value.values())
