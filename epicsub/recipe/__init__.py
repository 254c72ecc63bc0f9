"""YAML text -> Recipe: typed, frozen, every problem told at once. No torch, no other file than the recipe's own."""

from epicsub.recipe.load import ListedRecipe, LoadedRecipe, list_recipes, load_recipe, recipe_from_dict
from epicsub.recipe.schema import (
    AdversarialAdaptation,
    FrameLSTMModel,
    I3DModel,
    MMIRAdaptation,
    Recipe,
    SourceOnly,
    Stage,
)

__all__ = [
    "AdversarialAdaptation",
    "FrameLSTMModel",
    "I3DModel",
    "ListedRecipe",
    "LoadedRecipe",
    "MMIRAdaptation",
    "Recipe",
    "SourceOnly",
    "Stage",
    "list_recipes",
    "load_recipe",
    "recipe_from_dict",
]
