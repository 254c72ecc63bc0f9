"""What is set on a device before it computes: floating point, kernels, memory formats, and copies ahead of time."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from epicsub.errors import TrainingError
from epicsub.recipe import Recipe

log = logging.getLogger(__name__)
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


def tell_promise(device: torch.device, deterministic: bool) -> None:
    """Say where a repeated or resumed run may end otherwise, see `deterministic_kernels`.

    Args:
        device: of the run.
        deterministic: `train.deterministic`.
    """
    if device.type == "mps":
        log.info("on mps a repeated or resumed run may differ in the last digits")
    elif device.type == "cuda" and not deterministic:
        log.info(
            "on cuda a repeated or resumed run may differ in the last digits; with train.deterministic=true, which is "
            "slower, it is equal to the bit"
        )


@contextmanager
def deterministic_kernels(recipe: Recipe) -> Iterator[None]:
    """Within, a recipe with `train.deterministic` computes with kernels that always add in the same order.

    What is equal to the bit, for a run that is repeated with the same seed, or was killed and resumed, on one machine:

    - CPU: everything, with the same number of threads, with the setting or without it;
    - CUDA: everything with the setting; without it, max and average pooling in 3D and others add gradients in the order
      in which threads happen to come, and the last digits differ;
    - MPS: nothing is promised.

    Args:
        recipe: with `train.deterministic`.

    Yields:
        Once.

    Raises:
        TrainingError: a kernel has no deterministic form on the device.
    """
    if not recipe.train.deterministic:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first matrices are multiplied
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False  # it may choose another kernel in another run
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise TrainingError(
            f"train.deterministic: model {recipe.model.name} uses what has no deterministic form on this device "
            f"({str(error).splitlines()[0].split('.')[0]}). train.accelerator cpu has one of everything, and so has "
            "model i3d on CUDA"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
