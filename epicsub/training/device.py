"""What is set on a device before it computes: floating point, kernels, memory formats, and copies ahead of time."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import nn

T = TypeVar("T")
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Open the floating point in which a recipe trains, so that its model gives the scores of its own evaluations.

    Args:
        precision: `train.precision`.
        device: where the model runs; float16 is not for a CPU, which computes in float32.

    Returns:
        The context of forward passes.
    """
    if precision not in HALF or (device.type, precision) == ("cpu", "16-mixed"):
        return nullcontext()
    return torch.autocast(device.type, HALF[precision])


def use_fast_kernels(model: nn.Module, device: torch.device) -> None:
    """Let a CUDA device choose its fastest convolutions, and keep their weights as these read them.

    Products of float32 matrices get TensorFloat-32, as convolutions have it in torch anyway. Elsewhere nothing changes.

    Args:
        model: on the device; the weights of its 3D convolutions become channels_last_3d.
        device: of the model.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    torch.set_float32_matmul_precision("high")
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)


def copied_ahead(batches: Iterable[T], move: Callable[[T], T], device: torch.device) -> Iterator[T]:
    """Move batches to the device, each while the one before it is computed.

    Args:
        batches: on the CPU, in pinned memory.
        move: copies one to the device; what it computes there is done ahead too.
        device: CUDA copies on a stream of its own; elsewhere batches are moved when they are asked for.

    Yields:
        The batches, moved.
    """
    if device.type != "cuda":
        yield from map(move, batches)
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch's
    ahead: T | None = None
    for batch in batches:
        now = ahead
        side.wait_stream(torch.cuda.current_stream(device))  # memory of earlier batches is free only after their step
        with torch.cuda.stream(side):
            ahead = move(batch)
        copied = side.record_event()
        if now is not None:
            yield now
        torch.cuda.current_stream(device).wait_event(copied)
    if ahead is not None:
        yield ahead
