"""Learning rates over the steps of a stage."""

import math

from epicsub.recipe import Recipe, Stage


def scheduled_rate(stage: Stage, step: int) -> float:
    """Learning rate of a step: linear warm-up, then constant or a cosine that reaches 0 after the last step."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.learning_rate
    share = (step - stage.warmup_steps) / (stage.steps - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def rate_scale(recipe: Recipe, stage: Stage) -> float:
    """Factor of a stage's learning rates: its labelled clips a step over those that the rates are meant for.

    The linear rule of arXiv 1706.02677, section 2.1. A step's clips are those of all devices and accumulated parts.
    """
    return 1.0 if recipe.train.rate_batch is None else stage.source_batch / recipe.train.rate_batch


def scaled_rate_notes(recipe: Recipe) -> list[str]:
    """A line for each stage whose learning rate is scaled."""
    meant = recipe.train.rate_batch
    return [
        f"stage {number}: learning rate {stage.learning_rate:g} is meant for {meant} clips a step, this one takes "
        f"{stage.source_batch}: {stage.learning_rate * rate_scale(recipe, stage):g}"
        for number, stage in enumerate(recipe.train.stages, 1)
        if meant is not None
    ]
