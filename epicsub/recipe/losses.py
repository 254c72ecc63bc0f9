"""`train.losses`, `train.sampling` and `train.mixing` of a recipe. Tags as in schema.py."""

from collections.abc import Iterator
from typing import Literal

from epicsub.recipe.base import Count, NotNegative, Positive, Section, Share, ShareAboveZero, ShareBelowOne
from epicsub.recipe.yaml_tree import Problem, format_value

LossName = Literal["cross_entropy", "focal", "logit_adjusted", "equalised"]
"""Rows of `training.losses.LOSSES`."""
WeightName = Literal["none", "square_root", "effective_number"]
"""Rows of `training.losses.WEIGHTS`."""


class HeadLoss(Section):
    """The loss of one head; settings of another loss are left out."""

    name: LossName = "cross_entropy"
    """Loss; focal 1708.02002, logit_adjusted 2007.07314 (Eq 10), equalised 2003.05176 (softmax form)."""
    gamma: NotNegative | None = None
    """focal: exponent of one minus the probability of the right class; null is 2, the paper's."""
    tau: Positive | None = None
    """logit_adjusted: factor of the classes' log prior; null is 1, the paper's."""
    tail_share: ShareAboveZero | None = None
    """equalised: a class below this share of the training segments is rare; null is 0.005 [D]."""
    ignore: Share | None = None
    """equalised: probability that a rare class is no negative for a clip; null is 0.9, the paper's for images."""
    class_weights: WeightName = "none"
    """Weight of a class by its number n of training segments: n^-1/2, or (1 - beta) / (1 - beta^n), 1901.05555."""
    beta: ShareBelowOne | None = None
    """effective_number: beta; null is 0.999, one of the paper's."""
    label_smoothing: ShareBelowOne = 0.0
    """Share of the label that goes to all classes equally (1512.00567)."""
    weight: Positive = 1.0
    """Weight of the head in the classification loss."""

    @property
    def correction(self) -> str | None:
        """What corrects for rare classes, if anything."""
        if self.class_weights != "none":
            return self.class_weights
        return self.name if self.name in ("logit_adjusted", "equalised") else None


class ActionHead(Section):
    """A third head over the joint actions of the training list; its scores are folded back into verb and noun."""

    weight: Positive = 1.0
    """Weight of its cross-entropy in the classification loss [D]."""
    fold: ShareBelowOne = 0.5
    """Share of the joint head's marginals in the verb and noun probabilities of a prediction [D]."""
    dropout: ShareBelowOne = 0.0
    """Probability of dropping a pooled feature before the joint head."""


class Losses(Section):
    """The classification loss, of verb and noun."""

    verb: HeadLoss = HeadLoss()
    """Of the verb head."""
    noun: HeadLoss = HeadLoss()
    """Of the noun head."""
    action: ActionHead | None = None
    """A third head over joint actions; null has none."""
    window: NotNegative | None = None
    """Model context: weight of the loss on every segment of a window, by its own label; null is 0.1, MTCN's."""


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


def check_losses(losses: Losses, sampling: Sampling) -> Iterator[Problem]:
    """Check that the settings of `train.losses` and `train.sampling` fit each other.

    Args:
        losses: The one section.
        sampling: The other.

    Yields:
        What does not fit.
    """
    heads = {"verb": losses.verb, "noun": losses.noun}
    for head, loss in heads.items():
        yield from _check_head(f"train.losses.{head}", loss)
    yield from _check_balance(sampling)
    for head, loss in heads.items():
        if sampling.balance != "none" and sampling.by in (head, "action") and loss.correction:
            text = f"is {sampling.balance} by {sampling.by}, but train.losses.{head} corrects for rare classes"
            yield Problem("train.sampling.balance", f"{text} by {loss.correction}: choose one")


def _check_head(key: str, loss: HeadLoss) -> Iterator[Problem]:
    owned = {
        "gamma": (loss.gamma, "name", loss.name, "focal"),
        "tau": (loss.tau, "name", loss.name, "logit_adjusted"),
        "tail_share": (loss.tail_share, "name", loss.name, "equalised"),
        "ignore": (loss.ignore, "name", loss.name, "equalised"),
        "beta": (loss.beta, "class_weights", loss.class_weights, "effective_number"),
    }
    for name, (value, owner, chosen, needed) in owned.items():
        if value is not None and chosen != needed:
            text = f"is {format_value(value)}, but only {owner} {needed} has it: leave it out"
            yield Problem(f"{key}.{name}", text)
    if loss.name in ("logit_adjusted", "equalised") and loss.class_weights != "none":
        text = f"is {loss.class_weights}, but {loss.name} corrects for rare classes already: write none"
        yield Problem(f"{key}.class_weights", text)
    if loss.name in ("focal", "equalised") and loss.label_smoothing:
        text = f"is {format_value(loss.label_smoothing)}, but {loss.name} has no smoothed form: write 0"
        yield Problem(f"{key}.label_smoothing", text)


def _check_balance(sampling: Sampling) -> Iterator[Problem]:
    if sampling.balance == "none" and sampling.by is not None:
        text = f"is {format_value(sampling.by)}, but train.sampling.balance is none: leave it out"
        yield Problem("train.sampling.by", text)
    if sampling.balance != "none" and sampling.by is None:
        text = f"missing, balance {sampling.balance} needs what to balance: verb, noun or action"
        yield Problem("train.sampling.by", text)
