"""epicsub show: one recipe, resolved."""

import typer

from epicsub.cli.options import OverridesArgument, RecipeArgument
from epicsub.recipe import load_recipe


def show(recipe: RecipeArgument, overrides: OverridesArgument = None) -> None:
    """Print a recipe as it will run, defaults and overrides included."""
    typer.echo(load_recipe(recipe, overrides or []).to_yaml(), nl=False)
