"""epicsub doctor: what this machine has and lacks."""

import typer

from epicsub.api.status import doctor as describe_machine
from epicsub.cli.options import DataOption


def doctor(data: DataOption = None) -> None:
    """Report the devices, decoders, data and Slurm of this machine."""
    for line in describe_machine(data):
        typer.echo(line)
