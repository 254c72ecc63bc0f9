"""epicsub recipes and epicsub show."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.recipe import list_recipes, load_recipe


def recipes(folder: Annotated[Path, typer.Argument(help="Folder of recipes.")] = Path("recipes")) -> None:
    """List the recipes of a folder and its subfolders."""
    for path, _, description in list_recipes(folder):
        typer.echo(f"{path}  {description}")


def show(
    recipe: Annotated[Path, typer.Argument(help="A recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
) -> None:
    """Print a recipe as it will run, defaults and overrides included."""
    typer.echo(load_recipe(recipe, overrides or []).to_yaml(), nl=False)
