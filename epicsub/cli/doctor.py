"""epicsub doctor: what this machine has and lacks."""

import os
import shutil
from importlib.metadata import version

import torch
import typer

from epicsub.api.common import data_root
from epicsub.cli.options import DataOption
from epicsub.data.decode.reader import choose_decoder
from epicsub.errors import DataError


def doctor(data: DataOption = None) -> None:
    """Devices, decoders, data and Slurm of this machine."""
    typer.echo(f"epicsub {version('epicsub')}, torch {torch.__version__}, {os.cpu_count()} cores")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory / 2**30
        typer.echo(f"GPU {index}: {torch.cuda.get_device_name(index)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        typer.echo("GPU: none that torch can use; recipes/tiny is made for the processor, the other recipes for a GPU")
    for name in ("torchcodec", "pyav", "decord"):
        try:
            typer.echo(f"decoder {name}: {'loads' if choose_decoder(name) else ''}")
        except DataError as error:
            typer.echo(f"decoder {name}: {error}")
    typer.echo(f"decoder auto: {choose_decoder('auto')}")
    root = data_root(data)
    lists = sorted(path.name for path in (root.path / "annotations").glob("*.csv"))
    typer.echo(f"data root {root.path}: {len(lists)} annotation lists, {len(root.video_ids())} videos")
    typer.echo(f"Slurm: {shutil.which('sbatch') or 'not here'}")
