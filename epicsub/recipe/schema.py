"""What a recipe holds: every setting of a run, typed and frozen, with its unit, and its source where a paper has it.

Provenance tags: [P] the MMIR paper (arXiv 2311.14281), [C] its released code, [S] MM-SADA's code, [D] our choice.

A `Recipe` made here has the right keys, types and ranges. `load_recipe` and `recipe_from_dict` also check that its
settings fit each other (relations.py); use these to make one.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from epicsub.constants import NUM_VERBS
from epicsub.recipe.adaptation import Adaptation
from epicsub.recipe.base import LIST, Count, Level, Name, Section, Text, ViewSpec, WholeNumber
from epicsub.recipe.data import Data
from epicsub.recipe.model import Model
from epicsub.recipe.pretext import Pretext
from epicsub.recipe.train import Train
from epicsub.recipe.yaml_tree import Problem, format_value


class Supervision(Section):
    """The organisers' supervision levels (arXiv 2008.09890) of a model that this recipe trains; 0 none to 5 most."""

    pretraining: Level
    """sls_pt, level: what the initial weights were trained on (the organisers' default is 2)."""
    labels: Level
    """sls_tl, level: which labels training reads (the organisers' default is 3)."""
    data: Level
    """sls_td, level: which clips training sees; 3 the training list, 4 the validation list too."""


class Classes(Section):
    """Which verbs there are, and whether there are nouns."""

    verbs: Annotated[tuple[Annotated[int, Field(ge=0, lt=NUM_VERBS)], ...], LIST] | None = None
    """The only verb classes, in EPIC-KITCHENS-100's numbers: the others get no probability; null: all 97."""
    nouns: bool = True
    """Whether source lists have nouns; false trains verbs alone and predicts every noun with the same probability."""


class EvaluationSettings(Section):
    """How the model is scored and how it predicts."""

    protocol: Text = "validation/ek100.yaml"
    """File that names the lists, counts and class subsets."""
    views: ViewSpec = "1x1"
    """Temporal clips x spatial crops of a segment, +flip for mirrored ones too."""
    batch_size: Count
    """Segments per forward pass."""
    held_out: Text | None = None
    """Labelled list of the source, under annotations/, that is not trained on: the label-free scores of train.select
    fit a temperature on it. Null for the other scores."""


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
    pretext: Pretext | None = None
    """Self-supervision of a recipe for `epicsub pretrain`; null is training."""
    evaluation: EvaluationSettings
    """How the model is scored and how it predicts."""


def check_classes(classes: Classes) -> Iterator[Problem]:
    """Check that the settings of `classes` fit each other.

    Args:
        classes: The section.

    Yields:
        What does not fit.
    """
    if classes.verbs is None:
        return
    if len(classes.verbs) < 2:
        text = f"is {format_value(classes.verbs)}: name at least two verbs, or write null for all"
        yield Problem("classes.verbs", text)
    for index, verb in enumerate(classes.verbs):
        if verb in classes.verbs[:index]:
            yield Problem(f"classes.verbs.{index}", f"is {verb}, which is listed twice, list it once")
