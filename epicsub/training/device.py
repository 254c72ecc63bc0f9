"""The devices of this machine: which there are, why one asked for is not, and what is set before one computes."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import nn

from epicsub.errors import InferenceError, TrainingError
from epicsub.recipe import Recipe
from epicsub.training.mps import has_bfloat16

log = logging.getLogger(__name__)
T = TypeVar("T")
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Open the floating point in which a recipe trains, so that its model gives the scores of its own evaluations.

    Args:
        precision: `train.precision`.
        device: where the model runs; one without a half precision (float16 on a CPU, bfloat16 on older GPUs) computes
            in float32.

    Returns:
        The context of forward passes.
    """
    if precision not in HALF or (device.type, precision) == ("cpu", "16-mixed"):
        return nullcontext()
    if precision == "bf16-mixed" and not has_bfloat16(device):
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


def log_determinism(device: torch.device, deterministic: bool) -> None:
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
            f"({str(error).split()[0]}). train.accelerator cpu has one of everything, and so has model i3d on CUDA; "
            "take one of these, or train.deterministic=false"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def find_device(name: "str | torch.device") -> torch.device:
    """Find a device, before anything is read.

    Args:
        name: cpu, cuda, cuda:N, mps, or auto, which takes what the machine has.

    Returns:
        The device.

    Raises:
        InferenceError: no device of that name, or not on this machine; the message lists those that are.
    """
    text = str(name)
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    kind, index = text.partition(":")[::2]
    if not re.fullmatch(r"(cpu|mps)(:0)?|cuda(:\d{1,4})?", text):
        raise InferenceError(f"device {text!r}: there is no such name; choose {_choices()}")
    if problem := lacks(kind, int(index or 0) + 1):
        raise InferenceError(f"device {text}: {problem}; choose {_choices()}")
    return torch.device(text)


def lacks(accelerator: str, devices: int) -> str | None:
    """Say what this machine lacks.

    Args:
        accelerator: auto, cpu, cuda or mps.
        devices: how many.

    Returns:
        None if it has so many.
    """
    if accelerator == "mps" or (accelerator == "auto" and not torch.cuda.is_available() and _has_mps()):
        if not _has_mps():
            return "this machine has no Apple GPU that PyTorch can use"
        return None if devices == 1 else "a machine has one Apple GPU"
    if accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available()):
        if not torch.cuda.is_available():
            return _why_no_cuda()
        if torch.cuda.device_count() < devices:
            return f"{devices} CUDA devices are needed, and {torch.cuda.device_count()} are here{_hidden()}"
    return None


def _choices() -> str:
    gpus = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return ", ".join(["auto", "cpu", *gpus, *(["mps"] if _has_mps() else [])])


def _has_mps() -> bool:
    return bool(torch.backends.mps.is_available())


def _hidden() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is built without CUDA: install one that is built with it"
    if hidden := _hidden():
        return f"PyTorch finds no GPU{hidden}: name one there, or take the variable away"
    return "PyTorch finds no GPU here (`nvidia-smi` lists those of the driver; on a cluster, ask for one: --gres=gpu:1)"
