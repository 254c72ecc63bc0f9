"""What every benchmark writes beside its figures: the machine and the versions."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import torch

from epicsub.files import write_text


def write_figures(path: Path | None, figures: dict[str, float], **more: object) -> None:
    """Write {"machine", "versions", "figures"} as JSON; nothing where no path was asked for."""
    if path is None:
        return
    machine = {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform(terse=True)}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    versions = {name: version(name) for name in ("epicsub", "torch", "numpy", "av")} | {"opencv": cv2.__version__}
    content = {"machine": machine, "versions": versions | {"python": platform.python_version()}, "figures": figures}
    write_text(path, json.dumps(content | more, indent=1) + "\n")


def processor() -> str:
    """Name of the processor, where the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
