"""`train` of a recipe: the course of training. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import FILLED_LIST, Count, NotNegative, Positive, Section, ShareBelowOne, WholeNumber

Selection = Literal[
    "last",
    "all_verb_accuracy_at_1",
    "all_noun_accuracy_at_1",
    "all_action_accuracy_at_1",
    "all_verb_accuracy_at_5",
    "all_noun_accuracy_at_5",
    "all_action_accuracy_at_5",
    "tail_verb_accuracy_at_1",
    "tail_noun_accuracy_at_1",
    "tail_action_accuracy_at_1",
    "unseen_verb_accuracy_at_1",
    "unseen_noun_accuracy_at_1",
    "unseen_action_accuracy_at_1",
]


class Stage(Section):
    """A stretch of training with its own batch and learning rate."""

    steps: Count
    """Optimiser steps."""
    learning_rate: Positive
    """Learning rate, the highest of the schedule."""
    source_batch: Count
    """Labelled clips a step, over all devices."""
    target_batch: WholeNumber = 0
    """Unlabelled clips a step, over all devices; 0 is a stage without adaptation."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate over the stage's steps; cosine ends at 0."""
    warmup_steps: WholeNumber = 0
    """Steps of linear warm-up at the stage's start."""
    class_weight: Positive | None = None
    """Weight of the classification loss where this stage adapts; null takes train.class_weight."""


class Optimizer(Section):
    """The optimiser of model and discriminators."""

    name: Literal["sgd", "adam", "adamw"]
    """Optimiser; sgd in [C] and [S], though both papers write Adam."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd, first beta of adam and adamw."""
    weight_decay: NotNegative
    """Weight decay a step."""


class Train(Section):
    """The course of training."""

    stages: Annotated[tuple[Stage, ...], FILLED_LIST]
    """Stages, one after the other."""
    optimizer: Optimizer
    """The optimiser of model and discriminators."""
    class_weight: Positive = 1.0
    """Weight of the classification loss in stages that adapt; 1.0 [P], 0.2 in [S]."""
    clip_grad: Positive | None = None
    """Largest norm of the gradient; null does not clip."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Floating point of the forward and backward pass."""
    devices: Count = 1
    """Devices that share a step's batch."""
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device; auto takes the best there is."""
    log_every: Count
    """Steps between two lines of the log."""
    checkpoint_every: Count
    """Steps between two checkpoints."""
    evaluate_every: Count | None
    """Steps between two evaluations on the protocol's validation list; null never evaluates."""
    mean_of_last: Annotated[int, Field(ge=2)] | None = None
    """Evaluations at the run's end whose mean is reported too, 9 [P][S]; null reports the last alone."""
    mean_every: Count = 50
    """Steps between two of these evaluations [S]; the last one is the run's last step."""
    select: Selection
    """Which checkpoint becomes best.pth: last, or the one with the highest of this score."""
