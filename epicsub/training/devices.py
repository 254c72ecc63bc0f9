"""The devices of this machine: which there are, and why one that is asked for is not."""

import os
import re

import torch

from epicsub.errors import InferenceError


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
        return f"PyTorch {torch.__version__} is built without CUDA"
    if hidden := _hidden():
        return f"PyTorch finds no GPU{hidden}"
    return "PyTorch finds no GPU here (`nvidia-smi` lists those of the driver; on a cluster, ask for one: --gres=gpu:1)"
