"""epicsub recipes: which there are."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.io import shipped
from epicsub.recipe import list_recipes


def recipes(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of recipes. Default: those that come with epicsub, by name.")
    ] = None,
) -> None:
    """List the recipes that come with epicsub, or those of a folder and its subfolders."""
    if folder:
        for path, _, description in list_recipes(folder):
            typer.echo(f"{path}  {description}")
        return
    place = shipped("recipes")
    for path, _, description in list_recipes(place):
        typer.echo(f"{path.relative_to(place).with_suffix('').as_posix()}  {description}")
    typer.echo(f"(in {place}; `epicsub train NAME` trains one, `epicsub show NAME > FILE` copies it)")
