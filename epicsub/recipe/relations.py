"""Settings that must fit each other. What touches the disk (weights, lists, folders) is checked where a run starts."""

from collections.abc import Iterator
from typing import Any

from epicsub.recipe.relations_adaptation import ADAPTATION_RELATIONS, ADAPTATION_STAGE_RELATIONS
from epicsub.recipe.relations_classes import CLASSES_RELATIONS
from epicsub.recipe.relations_data import DATA_RELATIONS
from epicsub.recipe.relations_features import FEATURE_RELATIONS, GIVEN_RELATIONS
from epicsub.recipe.relations_losses import LOSS_RELATIONS, LOSS_STAGE_RELATIONS
from epicsub.recipe.relations_model import MODEL_RELATIONS
from epicsub.recipe.relations_train import TRAIN_RELATIONS, TRAIN_STAGE_RELATIONS
from epicsub.recipe.settings import NotUsableError, Settings
from epicsub.recipe.yaml_tree import Problem

RELATIONS = (
    *DATA_RELATIONS,
    *FEATURE_RELATIONS,
    *CLASSES_RELATIONS,
    *MODEL_RELATIONS,
    *ADAPTATION_RELATIONS,
    *TRAIN_RELATIONS,
    *LOSS_RELATIONS,
)
STAGE_RELATIONS = (*ADAPTATION_STAGE_RELATIONS, *TRAIN_STAGE_RELATIONS, *LOSS_STAGE_RELATIONS)


def broken_relations(values: dict[str, Any], bad: set[str]) -> list[Problem]:
    """Problems of settings that do not fit each other, leaving out relations that need a key in `bad`."""
    settings = Settings(values, bad)
    found = [_usable(relation(settings)) for relation in GIVEN_RELATIONS]
    settings = Settings(values, bad | {problem.key for problems in found for problem in problems})
    found += [_usable(relation(settings)) for relation in RELATIONS]
    for number in settings.stages():
        found += [_usable(relation(settings, f"train.stages.{number}")) for relation in STAGE_RELATIONS]
    return [problem for problems in found for problem in problems]


def _usable(problems: Iterator[Problem]) -> list[Problem]:
    try:
        return list(problems)
    except NotUsableError:
        return []
