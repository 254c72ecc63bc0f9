"""epicsub adopt: a checkpoint of the group's first model becomes a run."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import train as api
from epicsub.cli.options import OverridesArgument, RunOption


def adopt(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth of ActionModel (ResNet-50 and a bidirectional LSTM).")],
    recipe: Annotated[
        str, typer.Argument(help="Name or path of the recipe that says how its clips are cut, e.g. resnet_bilstm.")
    ],
    overrides: OverridesArgument = None,
    out: RunOption = None,
) -> None:
    """Convert a checkpoint of the group's first model, so that validate, predict and submit read it."""
    folder = api.adopt(checkpoint, recipe, overrides or [], out=out)
    typer.echo(f"wrote {folder}/last.pth; try `epicsub validate {folder}`")
