"""Checkpoints of the group's first model, `ActionModel` (ResNet-50, two-layer bidirectional LSTM), under our names.

timm's ResNet names its tensors as torchvision's does, so only the place in the model differs. What those files hold is
as `torch.save` wrote it: the tensors alone, or beside others under one of `WRAPPERS`.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.weights import load_strictly

WRAPPERS = ("model_state_dict", "state_dict", "model")
PLACES = {
    "backbone.": "streams.rgb.trunk.backbone.",
    "temporal.": "streams.rgb.trunk.temporal.",
    "verb_head.": "streams.rgb.verb_head.",
    "noun_head.": "streams.rgb.noun_head.",
}
PARALLEL = "module."  # in front of every name where DataParallel saved


def load_action_model(model: nn.Module, path: Path) -> None:
    """Fill a frame_lstm model of rgb alone from an `ActionModel` checkpoint; its normalisation stays the backbone's.

    Raises:
        ModelError: the file cannot be read, or its tensors do not fit the model: names and shapes are listed.
    """
    tensors = {new_name(name): value for name, value in tensors_of(path).items()}
    own = {name: value for name, value in model.state_dict().items() if ".normalise." in name}
    load_strictly(model, tensors | own, path)


def new_name(name: str) -> str:
    """The name in our model of a tensor of theirs; a name that is not theirs stays, and does not fit."""
    name = name.removeprefix(PARALLEL)
    for theirs, ours in PLACES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def tensors_of(path: Path) -> Mapping[str, Tensor]:
    """The model's tensors in a file that `torch.save` wrote, without running anything it carries.

    Raises:
        ModelError: it cannot be read, or holds no tensors under the names that such files use.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError) as error:
        raise ModelError(f"{path}: cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        held = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ModelError(f"{path}: no tensors of a model, alone or under {', '.join(WRAPPERS)}; it holds {held}")
    return content
