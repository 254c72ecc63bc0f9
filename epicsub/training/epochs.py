"""The length of stages that say it in epochs: known once the training lists are."""

import math

from epicsub.errors import TrainingError
from epicsub.recipe import Recipe
from epicsub.recipe.train import check_train
from epicsub.text import join_problems


def count_epochs(recipe: Recipe, segments: int) -> Recipe:
    """Turn epochs into steps; a recipe without epochs is returned as it is.

    Args:
        recipe: with `train.stages`.
        segments: of the training lists.

    Returns:
        The recipe with steps in every stage.

    Raises:
        TrainingError: see `epoch_problems`.
    """
    counted = _in_steps(recipe, segments)
    if problems := epoch_problems(recipe, segments):
        raise TrainingError(join_problems(problems, "nothing was started"))
    return counted


def epoch_problems(recipe: Recipe, segments: int) -> list[str]:
    """List settings that do not fit the steps of a stage's epochs, such as a longer warm-up.

    Args:
        recipe: before its epochs were counted.
        segments: of the training lists.

    Returns:
        One problem each, with its key.
    """
    if all(stage.epochs is None for stage in recipe.train.stages):
        return []  # checked as the recipe was read
    return [f"{problem.key}: {problem.text}" for problem in check_train(_in_steps(recipe, segments).train)]


def _in_steps(recipe: Recipe, segments: int) -> Recipe:
    if all(stage.epochs is None for stage in recipe.train.stages):
        return recipe
    stages = [
        stage
        if stage.epochs is None
        else stage.model_copy(update={"steps": math.ceil(stage.epochs * segments / stage.source_batch), "epochs": None})
        for stage in recipe.train.stages
    ]
    train = recipe.train.model_copy(update={"stages": tuple(stages)})
    return recipe.model_copy(update={"train": train})


def epoch_notes(recipe: Recipe, segments: int) -> list[str]:
    """Say how many steps a stage's epochs are.

    Args:
        recipe: before its epochs were counted.
        segments: of the training lists.

    Returns:
        A line per stage with epochs.
    """
    counted = count_epochs(recipe, segments).train.stages
    return [
        f"stage {number}: {stage.epochs:g} epochs of {segments} segments, {stage.source_batch} per step, are "
        f"{counted[number - 1].length} steps"
        for number, stage in enumerate(recipe.train.stages, 1)
        if stage.epochs is not None
    ]
