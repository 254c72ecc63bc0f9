"""epicsub doctor: what this machine has and lacks."""

from typing import Annotated

import typer

from epicsub.api.status import doctor as describe_machine
from epicsub.cli.options import DataOption


def doctor(
    recipe: Annotated[str | None, typer.Argument(help="Recipe to say of what fits it here.")] = None,
    data: DataOption = None,
) -> None:
    """Report the devices, decoders, data and Slurm of this machine, and the job that this is in."""
    for line in describe_machine(data, recipe):
        typer.echo(line)
