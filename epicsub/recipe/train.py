"""`train` of a recipe: the course of training. Tags as in schema.py."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import (
    FILLED_LIST,
    LIST,
    Count,
    NotNegative,
    Positive,
    Section,
    ShareAboveZero,
    ShareBelowOne,
    Text,
    WholeNumber,
)
from epicsub.recipe.losses import Losses, Mixing, Sampling, check_losses
from epicsub.recipe.stage import Stage, check_length
from epicsub.recipe.yaml_tree import Problem, format_value

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
    "label_free_entropy",
    "label_free_prior",
]


class Optimizer(Section):
    """The optimiser of model and discriminators."""

    name: Literal["sgd", "adam", "adamw"]
    """Optimiser; sgd in [C] and [S], though both papers write Adam."""
    momentum: ShareBelowOne = 0.9
    """Momentum of sgd, first beta of adam and adamw."""
    weight_decay: NotNegative
    """Weight decay per step."""


class Average(Section):
    """Averaged weights, which are evaluated, kept and used for predictions instead of the last ones."""

    name: Literal["ema", "swa"]
    """ema: exponential moving average; swa: mean over the end of the run (1803.05407)."""
    decay: ShareBelowOne | None = None
    """ema: share of the old average at each step, less in the first steps, (1 + n) / (10 + n); null is 0.999 [D]."""
    start: WholeNumber | None = None
    """swa: optimiser steps before the first that counts."""
    every: Count | None = None
    """swa: optimiser steps between two that count; null is 1."""
    bn_batches: WholeNumber = 0
    """Training batches by which batch norms' running statistics are made anew for the averaged weights at an
    evaluation and at the end; 0 takes those of the last weights."""


class Part(Section):
    """A part of the model with a learning rate of its own, or that stands still for a time."""

    name: Text
    """Its parameters' common beginning, e.g. backbone or streams.rgb.trunk; of two that fit, the longer counts."""
    rate: Positive = 1.0
    """Factor of the stage's learning rate."""
    frozen_steps: WholeNumber | None = 0
    """Optimiser steps from the run's start in which it stands still, running statistics too; null is the whole run."""


class Distillation(Section):
    """Soft labels of a teacher for both heads (1503.02531)."""

    teacher: Text
    """A checkpoint of epicsub (.pth), or predictions for every training segment (.npz, .pt, .pkl, .json)."""
    temperature: Positive = 1.0
    """Both sides' logits are divided by it, and the loss is multiplied by its square."""
    weight: ShareAboveZero = 0.5
    """Share of the soft labels in the classification loss, the labels' own is the rest [D]."""


class Train(Section):
    """The course of training."""

    stages: Annotated[tuple[Stage, ...], FILLED_LIST]
    """Stages, one after the other."""
    optimizer: Optimizer
    """The optimiser of model and discriminators."""
    start: Text | None = None
    """A checkpoint of the end of this recipe's first stage, stage_1.pth of a run: training begins with the second
    stage, from its weights. Null trains all stages."""
    class_weight: Positive = 1.0
    """Weight of the classification loss in stages that adapt; 1.0 [P], 0.2 in [S]."""
    losses: Losses = Losses()
    """The classification loss."""
    sampling: Sampling = Sampling()
    """Which labelled segments a step draws."""
    mixing: Mixing | None = None
    """Clips mixed in pairs; null mixes none."""
    average: Average | None = None
    """Averaged weights; null takes the last ones."""
    distillation: Distillation | None = None
    """A teacher; null has none."""
    parts: Annotated[tuple[Part, ...], LIST] = ()
    """Parts of the model with learning rates of their own, or frozen."""
    layer_decay: ShareAboveZero = 1.0
    """Factor of the learning rate from each layer to the one before it; 1 is the same for all."""
    rate_batch: Count | None = None
    """Labelled clips per step that the learning rates are meant for; they are scaled in proportion to the stage's
    (1706.02677). Null takes them as they are."""
    accumulate: Count = 1
    """Parts, one after the other, in which a step's clips go through the model; batch norm sees a part at a time, an
    adaptation method all of them (GradCache, 2101.06983: each part goes forward twice)."""
    activation_checkpointing: bool | Literal["pools"] = False
    """Layers forget what they computed and compute it again for the gradient: less memory, more time. pools: only the
    pooling of I3D does."""
    compile: bool = False
    """Compile the model with torch.compile."""
    clip_grad: Positive | None = None
    """Largest norm of the gradient; null does not clip."""
    deterministic: bool = False
    """Take CUDA's deterministic kernels, which are slower: two runs are equal to the bit there too, as on a CPU."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Floating point of the forward and backward pass."""
    devices: Count | Literal["auto"] = 1
    """Devices of a node, which share a step's batch; auto takes as many as srun or torchrun has started processes on
    each node, else all GPUs of this machine."""
    nodes: Count | Literal["auto"] = 1
    """Machines that share a step's batch; auto takes as many as srun or torchrun has started processes on."""
    sync_batch_norm: bool | None = None
    """Batch norms take their statistics over all processes; null does so where a process has fewer than 16 labelled
    clips of a step."""
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
    """Which checkpoint becomes best.pth: last, or the one with the highest of this score. label_free_entropy
    and label_free_prior read no label of the validation list, but those of evaluation.held_out."""
    margin: NotNegative = 0.0
    """Standard errors by which a score must exceed the best to count as higher; errors of the paired difference."""
    patience: Count | None = None
    """Evaluations without a higher score after which training ends; null goes to the last step."""

    @property
    def processes(self) -> int:
        """Devices of all nodes; 1 while `auto` is not counted."""
        return 1 if self.devices == "auto" or self.nodes == "auto" else self.nodes * self.devices

    @property
    def steps(self) -> int | None:
        """Optimiser steps of all stages; None while the epochs of one are not counted."""
        known = [stage.steps for stage in self.stages if stage.steps is not None]
        return sum(known) if len(known) == len(self.stages) else None


def check_train(train: Train) -> Iterator[Problem]:
    """Check that the settings of `train` fit each other.

    Args:
        train: The section.

    Yields:
        What does not fit.
    """
    yield from (*_check_selection(train), *_check_mean_of_last(train))
    if train.precision == "16-mixed" and train.accelerator == "cpu":
        yield Problem("train.precision", f"is {train.precision!r}, must be bf16-mixed or 32-true on a cpu")
    if train.average is not None:
        yield from _check_average(train.average, train.steps)
    yield from _check_parts(train)
    if train.class_weight != 1 and not any(stage.target_batch for stage in train.stages):
        text = "but no stage has a target_batch: the classification loss stands alone, leave it out"
        yield Problem("train.class_weight", f"is {format_value(train.class_weight)}, {text}")
    if train.compile and train.activation_checkpointing:
        text = (
            f"is {format_value(train.activation_checkpointing)}, but train.compile chooses itself what to compute "
            "again: write false for one of them"
        )
        yield Problem("train.activation_checkpointing", text)
    if train.start is not None and len(train.stages) < 2:
        text = f"is {format_value(train.start)}, the end of the first stage, but there is no second: leave it out"
        yield Problem("train.start", text)
    yield from check_losses(train.losses, train.sampling)
    if train.mixing is not None and not train.mixing.mixup and not train.mixing.cutmix:
        text = "mixes nothing: give mixup or cutmix an alpha, e.g. 0.8, or leave the section out"
        yield Problem("train.mixing", text)
    for index, stage in enumerate(train.stages):
        yield from _check_stage(f"train.stages.{index}", stage, train)


def _check_selection(train: Train) -> Iterator[Problem]:
    if train.select != "last" and train.evaluate_every is None:
        text = f"is {train.select!r}, which needs train.evaluate_every: write its steps, or select last"
        yield Problem("train.select", text)
    if train.margin and train.select.startswith("label_free"):
        text = f"is {format_value(train.margin)}, but {train.select} counts no hits, whose noise it would be: write 0"
        yield Problem("train.margin", text)
    for key, value in {"patience": train.patience, "margin": train.margin}.items():
        if value and train.select == "last":
            text = f"is {format_value(value)}, but train.select last compares no scores: name a score"
            yield Problem(f"train.{key}", text)
    if train.patience and train.mean_of_last:
        text = f"is {train.patience}, but train.mean_of_last ({train.mean_of_last}) is of the last steps: choose one"
        yield Problem("train.patience", text)


def _check_mean_of_last(train: Train) -> Iterator[Problem]:
    count, every = train.mean_of_last, train.mean_every
    if count is None:
        if every != Train.model_fields["mean_every"].default:
            yield Problem("train.mean_every", f"is {every}, but train.mean_of_last is null: leave it out")
        return
    if train.steps is None:
        return
    first = train.steps - (count - 1) * every
    if first < 1:
        text = (
            f"is {count}, evaluations every {every} steps would begin {1 - first} steps before the run's {train.steps}"
        )
        yield Problem("train.mean_of_last", f"{text} do: write fewer, or a smaller train.mean_every")


def _check_average(average: Average, steps: int | None) -> Iterator[Problem]:
    owned = {
        "decay": (average.decay, "ema"),
        "start": (average.start, "swa"),
        "every": (average.every, "swa"),
    }
    for name, (value, owner) in owned.items():
        if average.name != owner and value is not None:
            text = f"is {format_value(value)}, but only average {owner} has it: leave it out"
            yield Problem(f"train.average.{name}", text)
    if average.name != "swa":
        return
    if average.start is None:
        yield Problem("train.average.start", "missing, swa needs the step after which weights count")
    elif steps is not None and average.start >= steps:
        yield Problem("train.average.start", f"is {average.start}, must be below the run's steps ({steps})")


def _check_parts(train: Train) -> Iterator[Problem]:
    names = [part.name for part in train.parts]
    for index, part in enumerate(train.parts):
        key = f"train.parts.{index}"
        if part.name in names[:index]:
            yield Problem(f"{key}.name", f"is {part.name!r}, which is listed twice, list it once")
        if part.frozen_steps and train.processes > 1:
            text = f"is {part.frozen_steps}, but {train.processes} devices share gradients as the run begins"
            yield Problem(f"{key}.frozen_steps", f"{text}: write 0, or null for all steps")
        if part.frozen_steps is None and part.rate != 1:
            text = f"is {format_value(part.rate)}, but frozen_steps null keeps the part still for the whole run"
            yield Problem(f"{key}.rate", f"{text}: leave it out")


def _check_stage(key: str, stage: Stage, train: Train) -> Iterator[Problem]:
    batch, devices, repeats = stage.source_batch, train.processes, train.sampling.repeats
    yield from check_length(key, stage)
    if stage.class_weight is not None and not stage.target_batch:
        text = "but a stage without target_batch has the classification loss alone: leave it out"
        yield Problem(f"{key}.class_weight", f"is {format_value(stage.class_weight)}, {text}")
    if train.accumulate > 1 and batch % (train.accumulate * devices):
        text = f"must be a multiple of train.accumulate x train.devices ({train.accumulate * devices})"
        yield Problem(f"{key}.source_batch", f"is {batch}, {text}")
    if stage.target_batch % (train.accumulate * devices) and train.accumulate > 1:
        text = f"must be a multiple of train.accumulate x train.devices ({train.accumulate * devices})"
        yield Problem(f"{key}.target_batch", f"is {stage.target_batch}, {text}")
    if batch % repeats:
        yield Problem(f"{key}.source_batch", f"is {batch}, must be a multiple of train.sampling.repeats ({repeats})")
    if train.mixing is None:
        return
    if batch // devices < 2:
        text = f"is {batch}, but train.mixing mixes a clip with another of its device"
        yield Problem(f"{key}.source_batch", text)
    elif batch % repeats == 0 and devices % (batch // repeats) == 0:  # processes take the step's draws in turn
        text = f"is {batch}, but train.sampling.repeats {repeats} makes a device's clips one segment, mixed with itself"
        yield Problem(f"{key}.source_batch", f"{text}: write a larger batch")
