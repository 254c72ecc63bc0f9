"""What an Apple GPU lacks, found before a run: operations without a kernel, and bfloat16 before macOS 14."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from epicsub.modality import MODALITIES
from epicsub.recipe import Recipe

FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
# Kernels that serve every device; an operation without one of them must have one of its own.
_SHARED = ("CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional")


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's
    """Notes the names of the operations that are computed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


def operations(model: nn.Module, clips: Mapping[str, Tensor], backward: bool) -> set[str]:
    """Find what a model computes.

    Args:
        model: on the meta device, where nothing is computed.
        clips: of the same device.
        backward: with the gradients.

    Returns:
        Names of operations, with their overloads.
    """
    noted = _Operations()
    with noted, torch.set_grad_enabled(backward):
        output = model(clips)
        if backward:
            (output.verb_logits_BV.sum() + output.noun_logits_BN.sum()).backward()
    return noted.names


def lacking(names: set[str], device: str = "MPS") -> list[str]:
    """Choose the operations that this build of PyTorch cannot compute on a device.

    Args:
        names: of operations.
        device: dispatch key.

    Returns:
        Those without a kernel, in order.
    """
    has = torch._C._dispatch_has_kernel_for_dispatch_key  # PyTorch publishes no other way to ask
    return sorted(name for name in names if not any(has(name, key) for key in (device, *_SHARED)))


def clips_of(recipe: Recipe, device: torch.device) -> dict[str, Tensor]:
    """Make clips of one segment as a recipe cuts them, without content.

    Args:
        recipe: of videos.
        device: where.

    Returns:
        uint8 (2, C, T, S, S) by modality.
    """
    cut = recipe.data.video()
    shape = (cut.frames, cut.size, cut.size)
    return {
        name: torch.zeros(2, MODALITIES[name].channels, *shape, dtype=torch.uint8, device=device)
        for name in recipe.data.modalities
    }


def why_not(make: Callable[[], nn.Module], recipe: Recipe, backward: bool) -> str | None:
    """Say what an Apple GPU lacks for a model.

    Args:
        make: builds the model; it is called where a tensor gets the meta device.
        recipe: that cuts its clips.
        backward: for training.

    Returns:
        The operations and what to do; None where all are there, where the model reads features, or where the CPU stands
        in for what lacks.
    """
    if recipe.data.features or FALLBACK in os.environ:
        return None
    with torch.device("meta"):
        model = make().train(backward)
    try:
        names = operations(model, clips_of(recipe, torch.device("meta")), backward)
    except (NotImplementedError, RuntimeError):  # the meta device lacks some itself: the run will say
        return None
    missing = lacking(names)
    if not missing:
        return None
    return (
        f"PyTorch {torch.__version__} cannot compute {', '.join(missing)} on an Apple GPU: {FALLBACK}=1 in the "
        "environment computes these on the CPU, which is slower; or take the CPU for all (train.accelerator "
        "cpu, --device cpu)"
    )


def has_bfloat16(device: torch.device) -> bool:
    """Tell whether a device computes in bfloat16.

    Args:
        device: any.

    Returns:
        True for a CPU, for CUDA devices from Ampere on, and for Apple's from macOS 14 on.
    """
    if device.type == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return True
