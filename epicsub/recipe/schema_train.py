"""`train` of a recipe: the course of training. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import (
    FILLED_LIST,
    LIST,
    Count,
    NotNegative,
    Positive,
    Section,
    Share,
    ShareAboveZero,
    ShareBelowOne,
    Text,
    WholeNumber,
)

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


class HeadLoss(Section):
    """The loss of one head; settings of another loss are left out."""

    name: Literal["cross_entropy", "focal", "logit_adjusted", "equalised"] = "cross_entropy"
    """Loss; focal 1708.02002, logit_adjusted 2007.07314 (Eq 10), equalised 2003.05176 (softmax form)."""
    gamma: NotNegative | None = None
    """focal: exponent of one minus the probability of the right class; null is 2, the paper's."""
    tau: Positive | None = None
    """logit_adjusted: factor of the classes' log prior; null is 1, the paper's."""
    tail_share: ShareAboveZero | None = None
    """equalised: a class below this share of the training segments is rare; null is 0.005 [D]."""
    ignore: Share | None = None
    """equalised: probability that a rare class is no negative for a clip; null is 0.9, the paper's for images."""
    class_weights: Literal["none", "square_root", "effective_number"] = "none"
    """Weight of a class by its number n of training segments: n^-1/2, or (1 - beta) / (1 - beta^n), 1901.05555."""
    beta: ShareBelowOne | None = None
    """effective_number: beta; null is 0.999, one of the paper's."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of the label that goes to all classes equally (1512.00567)."""
    weight: Positive = 1.0
    """Weight of the head in the classification loss."""


class ActionHead(Section):
    """A third head over the joint actions of the training list; its scores are folded back into verb and noun."""

    weight: Positive = 1.0
    """Weight of its cross-entropy in the classification loss [D]."""
    fold: ShareBelowOne = 0.5
    """Share of the joint head's marginals in the verb and noun probabilities of a prediction [D]."""
    dropout: ShareBelowOne = 0.0
    """Probability of dropping a pooled feature before the joint head."""


class Losses(Section):
    """The classification loss, for verb and noun apart."""

    verb: HeadLoss = HeadLoss()
    """Of the verb head."""
    noun: HeadLoss = HeadLoss()
    """Of the noun head."""
    action: ActionHead | None = None
    """A third head over joint actions; null has none."""


class Sampling(Section):
    """Which labelled segments a step draws."""

    balance: Literal["none", "square_root", "class"] = "none"
    """Share of a class: as it is, as the square root of its number of segments, or the same for all."""
    by: Literal["verb", "noun", "action"] | None = None
    """What a class is; null where balance is none."""
    repeats: Count = 1
    """Clips a step takes of each drawn segment: the same frames, decoded once, augmented anew (1901.09335)."""


class Mixing(Section):
    """Clips of a batch mixed in pairs, with their labels; one of the two for a whole batch."""

    mixup: NotNegative = 0.0
    """alpha of the Beta distribution of the shares (1710.09412); 0 is no MixUp."""
    cutmix: NotNegative = 0.0
    """alpha of CutMix, a box of the picture over all frames (1905.04899); 0 is no CutMix."""
    probability: ShareAboveZero = 1.0
    """Probability that a batch is mixed."""


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
    """A checkpoint of epicsub (.pth), or predictions for every training segment (.npz, .pt, .pkl)."""
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
    """Labelled clips a step that the learning rates are meant for; they are scaled in proportion to the stage's
    (1706.02677). Null takes them as they are."""
    accumulate: Count = 1
    """Parts, one after the other, in which a step's clips go through the model; batch norm sees a part at a time."""
    activation_checkpointing: bool = False
    """Layers forget what they computed and compute it again for the gradient: less memory, more time."""
    compile: bool = False
    """Compile the model with torch.compile."""
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
    margin: NotNegative = 0.0
    """Standard errors by which a score must exceed the best to count as higher; errors of the paired difference."""
    patience: Count | None = None
    """Evaluations without a higher score after which training ends; null goes to the last step."""
