"""What every benchmark writes beside its figures: the machine and the versions."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import torch

from epicsub.io import write_text


def write_figures(path: Path | None, figures: dict[str, float], **more: object) -> None:
    """Write {"machine", "versions", "figures"} as JSON; nothing where no path was asked for."""
    if path is not None:
        write_text(path, json.dumps(here() | {"figures": figures} | more, indent=1) + "\n")


def kept_figures(path: Path | None, other: str) -> tuple[dict[str, float], dict]:
    """`figures` of a file of this machine and these versions, and another part of it: nothing of any other's."""
    if path is None or not path.is_file():
        return {}, {}
    held = json.loads(path.read_text())
    if any(held.get(part) != value for part, value in here().items()):
        return {}, {}
    return held["figures"], held.get(other, {})


def here() -> dict[str, dict]:
    """This machine, and the versions of what is measured on it."""
    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform(terse=True)}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    versions = {name: version(name) for name in ("epicsub", "torch", "numpy", "av")} | {"opencv": cv2.__version__}
    return {"machine": machine, "versions": versions | {"python": platform.python_version()}}


def processor() -> str:
    """Name of the processor, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
