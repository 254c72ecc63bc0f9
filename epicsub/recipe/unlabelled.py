"""Sections of `adaptation`: alignment of norms, and self-training. Tags as in schema.py."""

from collections.abc import Iterator
from typing import Literal

from epicsub.recipe.base import AdaptationSection, NotNegative, Share, ShareBelowOne
from epicsub.recipe.yaml_tree import Problem, format_value


class RNAAdaptation(AdaptationSection):
    """Relative norm alignment: modalities whose features are equally long, in both domains (arXiv 2110.10101)."""

    pairs_modalities = True

    method: Literal["rna"]
    loss_weight: NotNegative = 1.0
    """Weight of the norms' difference beside the classification loss [D]; 0 only logs the ratios."""


class SelfTrainingAdaptation(AdaptationSection):
    """Pseudo-labels of a mean teacher, with thresholds by class and the source's shares of classes [D]."""

    method: Literal["self_training"]
    decay: ShareBelowOne = 0.999
    """Share of the old teacher at each step that adapts; 0 makes the student its own teacher [D]."""
    threshold: Share = 0.9
    """Probability above which a pseudo-label counts, for the class that is most sure of itself [D]; 1 keeps none."""
    least_threshold: Share = 0.5
    """The least that this is for any class [D]."""
    alignment: Share = 0.5
    """Power of (source share / mean prediction) that the teacher's probabilities are multiplied by [D]; 0 for none."""
    pairs: Share = 0.25
    """Strength of what the source says of verbs and nouns that go together: a hint, no pair is ruled out [D]; 0 for
    none."""
    memory: ShareBelowOne = 0.99
    """Share of the past in the running means of predictions and of what is kept [D]."""
    strong_drop: ShareBelowOne = 0.3
    """Share of a target clip that the student does not see: entries of features, or a box of the picture [D]."""
    loss_weight: NotNegative = 1.0
    """Weight of the pseudo-labels beside the classification loss, at its height [D]."""


Unlabelled = RNAAdaptation | SelfTrainingAdaptation


def check_unlabelled(adaptation: AdaptationSection) -> Iterator[Problem]:
    """Check that the settings of these sections fit each other.

    Args:
        adaptation: A section of any method.

    Yields:
        What does not fit.
    """
    if isinstance(adaptation, SelfTrainingAdaptation) and adaptation.least_threshold > adaptation.threshold:
        value, limit = format_value(adaptation.least_threshold), format_value(adaptation.threshold)
        yield Problem("adaptation.least_threshold", f"is {value}, must not exceed adaptation.threshold ({limit})")
