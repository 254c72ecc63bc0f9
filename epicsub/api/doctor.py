"""What this machine has: devices, decoders, data and Slurm."""

import os
import shutil
from pathlib import Path

import torch

from epicsub.api.common import data_root
from epicsub.constants import __version__
from epicsub.data.decode.reader import DECODERS, choose_decoder, why_not


def doctor(data: str | Path | None = None) -> list[str]:
    """Describe the machine, as `epicsub doctor` prints it.

    Args:
        data: the data root. Default: $EPICSUB_DATA, else `data/`.

    Returns:
        Lines on versions, devices, decoders, the data root and Slurm; where something is missing, what to do about it.
    """
    lines = [f"epicsub {__version__}, torch {torch.__version__}, {os.cpu_count()} cores"]
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        lines.append(f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        lines.append("GPU: mps")
    elif not torch.cuda.is_available():
        lines.append("GPU: none available to torch; recipes in recipes/tiny/ run on a CPU, the others need a GPU")
    for name in DECODERS:
        reason = why_not(name)
        lines.append(f"decoder {name}: " + (f"not available ({reason})" if reason else "available"))
    lines.append(f"decoder auto: {choose_decoder('auto')}")
    lines.append(f"data root {data_root(data).path}: {_data(data)}")
    lines.append(f"Slurm: {shutil.which('sbatch') or 'sbatch not found'}")
    return lines


def _data(data: str | Path | None) -> str:
    root = data_root(data)
    if not root.path.is_dir():
        return "no such folder; set it with --data or $EPICSUB_DATA"
    lists = len(list((root.path / "annotations").glob("*.csv")))
    return f"{lists} annotation tables, {len(root.video_ids())} videos (`epicsub data status` for details)"
