"""epicsub adopt: a checkpoint of the group's first model becomes a run of ours."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.train import adopt as convert


def adopt(
    checkpoint: Annotated[Path, typer.Argument(help="A .pth of ActionModel (ResNet-50 and a bidirectional LSTM).")],
    recipe: Annotated[
        str, typer.Argument(help="Name or path of the recipe that says how its clips are cut, e.g. resnet_bilstm.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder. Default: outputs/ and the recipe's name.")] = None,
) -> None:
    """Convert a checkpoint of the group's first model, so that validate, predict and submit read it."""
    folder = convert(checkpoint, recipe, overrides or [], out=out)
    typer.echo(f"wrote {folder}/last.pth; try `epicsub validate {folder}`")
