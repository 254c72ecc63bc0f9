"""What a recipe holds: every setting of a run, typed and frozen, with its unit, and its source where a paper has it.

Provenance tags: [P] the MMIR paper (arXiv 2311.14281), [C] its released code, [S] MM-SADA's code, [D] our choice.

A `Recipe` made here has the right keys, types and ranges. Whether its settings fit each other is checked by
`load_recipe` and `recipe_from_dict`, which are the ways in.
"""

from epicsub.recipe.base import Count, Level, Name, Section, Text, ViewSpec, WholeNumber
from epicsub.recipe.schema_adaptation import Adaptation
from epicsub.recipe.schema_classes import Classes
from epicsub.recipe.schema_data import Data
from epicsub.recipe.schema_model import Model
from epicsub.recipe.schema_train import Train


class Supervision(Section):
    """The organisers' supervision levels (arXiv 2008.09890) of a model that this recipe trains; 0 none to 5 most."""

    pretraining: Level
    """sls_pt, level: what the initial weights were trained on (the organisers' default is 2)."""
    labels: Level
    """sls_tl, level: which labels training reads (the organisers' default is 3)."""
    data: Level
    """sls_td, level: which clips training sees; 3 the training list, 4 the validation list too."""


class EvaluationSettings(Section):
    """How the model is scored and how it predicts."""

    protocol: Text = "validation/ek100.yaml"
    """File that names the lists, counts and class subsets."""
    views: ViewSpec = "1x1"
    """Temporal clips x spatial crops of a segment, +flip for mirrored ones too."""
    batch_size: Count
    """Segments a forward pass."""


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
    """What there is to tell apart; the default is EPIC-KITCHENS-100."""
    model: Model
    """The network."""
    adaptation: Adaptation
    """How the network is adapted to the target lists."""
    train: Train
    """The course of training."""
    evaluation: EvaluationSettings
    """How the model is scored and how it predicts."""
