"""What a recipe holds: every setting of a run, typed and frozen, with its unit, and its source where a paper has it.

Provenance tags: [P] the MMIR paper (arXiv 2311.14281), [C] its released code, [S] MM-SADA's code, [D] our choice.

A `Recipe` made here has the right keys, types and ranges. `load_recipe` and `recipe_from_dict` also check that its
settings fit each other (relations.py); use these to make one.
"""

from epicsub.recipe.adaptation import Adaptation
from epicsub.recipe.base import Name, Section, Text, WholeNumber
from epicsub.recipe.classes import Classes
from epicsub.recipe.data import Data
from epicsub.recipe.evaluation import EvaluationSettings, Supervision
from epicsub.recipe.model import Model
from epicsub.recipe.train import Train


class Recipe(Section):
    """One run: data, model, adaptation, training and evaluation."""

    name: Name
    """Name of the run and of its folder under outputs/."""
    description: Text
    """One sentence for lists and reports."""
    seed: WholeNumber
    """Seed of weights, order, crops and agents."""
    supervision: Supervision
    """The organisers' supervision levels of the trained model."""
    data: Data
    """Which clips, and how they are cut from the videos."""
    classes: Classes = Classes()
    """Verbs and nouns to predict; the default is EPIC-KITCHENS-100."""
    model: Model
    """The network."""
    adaptation: Adaptation
    """How the network is adapted to the target lists."""
    train: Train
    """The course of training."""
    evaluation: EvaluationSettings
    """How the model is scored and how it predicts."""
