"""A stage of `train` in a recipe. Tags as in schema.py."""

from collections.abc import Iterator
from typing import Literal

from epicsub.recipe.base import Count, Positive, Section, WholeNumber
from epicsub.recipe.yaml_tree import Problem, format_value


class Stage(Section):
    """A stretch of training with its own batch and learning rate."""

    steps: Count | None = None
    """Optimiser steps; null where epochs says how long the stage is."""
    epochs: Positive | None = None
    """How often the stage's labelled clips go through the training lists, in place of steps; rounded up to a step."""
    learning_rate: Positive
    """Learning rate, the highest of the schedule."""
    source_batch: Count
    """Labelled clips per step, over all devices."""
    target_batch: WholeNumber = 0
    """Unlabelled clips per step, over all devices; 0 is a stage without adaptation."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the stage's steps; cosine ends at 0."""
    warmup_steps: WholeNumber = 0
    """Steps of linear warm-up at the stage's start."""
    class_weight: Positive | None = None
    """Weight of the classification loss where this stage adapts; null takes train.class_weight."""

    @property
    def length(self) -> int:
        """Optimiser steps, of a stage whose epochs are counted."""
        assert self.steps is not None, "count_epochs comes first"
        return self.steps


def check_length(key: str, stage: Stage) -> Iterator[Problem]:
    """Check that a stage says its length once, and is longer than its warm-up.

    Args:
        key: Of the stage.
        stage: The stage.

    Yields:
        What does not fit.
    """
    if stage.steps is None and stage.epochs is None:
        yield Problem(f"{key}.steps", "missing, it must be given, or epochs: Optimiser steps")
    elif stage.steps is not None and stage.epochs is not None:
        text = f"is {format_value(stage.epochs)}, but steps is {stage.steps}: write one of them, null for the other"
        yield Problem(f"{key}.epochs", text)
    elif stage.steps is not None and stage.warmup_steps >= stage.steps:
        text = f"is {stage.warmup_steps}, must be below the stage's steps ({stage.steps})"
        yield Problem(f"{key}.warmup_steps", text)
