"""epicsub recipes and epicsub show."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.io import shipped
from epicsub.recipe import list_recipes, load_recipe


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


def show(
    recipe: Annotated[Path, typer.Argument(help="Name or path of a recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Print a recipe as it will run, defaults and overrides included."""
    typer.echo(load_recipe(recipe, overrides or []).to_yaml(), nl=False)
