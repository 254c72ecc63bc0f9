"""Learning rates over the steps of a stage."""

import math

from epicsub.recipe import Recipe, Stage


def scheduled_rate(stage: Stage, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, then constant or a cosine that reaches 0 after the last.

    Args:
        stage: with the schedule.
        step: within the stage, from 0.

    Returns:
        The rate.
    """
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.learning_rate
    share = (step - stage.warmup_steps) / (stage.steps - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def rate_scale(recipe: Recipe, stage: Stage) -> float:
    """Compute the factor of a stage's learning rates: its labelled clips per step over those the rates are meant for.

    The linear rule of arXiv 1706.02677, section 2.1. A step's clips are those of all devices and accumulated parts.

    Args:
        recipe: with `train.rate_batch`.
        stage: of the recipe.

    Returns:
        1 where the recipe has no such batch.
    """
    return 1.0 if recipe.train.rate_batch is None else stage.source_batch / recipe.train.rate_batch


def scaled_rate_notes(recipe: Recipe) -> list[str]:
    """Describe the learning rates that are scaled.

    Args:
        recipe: with `train.rate_batch`.

    Returns:
        A line per stage.
    """
    meant = recipe.train.rate_batch
    return [
        f"stage {number}: learning rate {stage.learning_rate:g} is meant for {meant} clips per step, this one takes "
        f"{stage.source_batch}: {stage.learning_rate * rate_scale(recipe, stage):g}"
        for number, stage in enumerate(recipe.train.stages, 1)
        if meant is not None
    ]
