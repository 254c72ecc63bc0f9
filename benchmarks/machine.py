"""What the benchmarks share: the `--json` option, and a file with machine, versions and figures."""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import cv2
import torch

from epicsub.io import write_text


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that prints a benchmark's docstring as it stands and takes `--json FILE`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write machine, versions and figures to this file")
    return parser


def write_figures(path: Path | None, figures: dict[str, float], **more: object) -> None:
    """Write {"machine", "versions", "figures"} as JSON; nothing if there is no path."""
    if path is not None:
        write_text(path, compact(here() | {"figures": figures} | more) + "\n")


def compact(content: dict[str, object]) -> str:
    """JSON with one line per part, and one per run within it: each item of a list of dicts, each inner dict."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_part(value)}" for key, value in content.items()) + "\n}"


def _part(value: object) -> str:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(item, dict) or "\n" in _part(item) for item in value.values()):
        lines = (f"{json.dumps(key)}: {json.dumps(v) if isinstance(v, dict) else _part(v)}" for key, v in value.items())
        return "{\n" + ",\n".join(lines) + "\n}"
    return json.dumps(value)


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
