"""epicsub show: one recipe, resolved."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import OverridesArgument
from epicsub.recipe import load_recipe


def show(
    recipe: Annotated[Path, typer.Argument(help="Name or path of a recipe.")],
    overrides: OverridesArgument = None,
) -> None:
    """Print a recipe as it will run, defaults and overrides included."""
    typer.echo(load_recipe(recipe, overrides or []).to_yaml(), nl=False)
