"""YAML text -> Recipe: typed, frozen, all problems reported at once. No torch, no other file than the recipe's own."""

from epicsub.recipe.adaptation import AdversarialAdaptation, MMIRAdaptation, SourceOnly
from epicsub.recipe.load import ListedRecipe, LoadedRecipe, list_recipes, load_recipe, recipe_from_dict
from epicsub.recipe.model import FeatureHeadsModel, FrameLSTMModel, I3DModel, TemporalRelationsModel
from epicsub.recipe.schema import Recipe
from epicsub.recipe.stage import Stage

__all__ = [
    "AdversarialAdaptation",
    "FeatureHeadsModel",
    "FrameLSTMModel",
    "I3DModel",
    "ListedRecipe",
    "LoadedRecipe",
    "MMIRAdaptation",
    "Recipe",
    "SourceOnly",
    "Stage",
    "TemporalRelationsModel",
    "list_recipes",
    "load_recipe",
    "recipe_from_dict",
]
