"""What a reader of a checkpoint's scores should know, a line each."""

from collections.abc import Sequence
from typing import Any

NOTED_SCORES = ("all_verb_accuracy_at_1", "all_noun_accuracy_at_1", "all_action_accuracy_at_1")


def upper_bound_note(lists: Sequence[str]) -> str:
    """Describe a model that was trained with the labels of target lists.

    Args:
        lists: annotation lists.

    Returns:
        A line.
    """
    return (
        f"upper bound: trained on the labels of the target ({', '.join(lists)}), no adaptation; scores on segments of "
        "these lists are of training"
    )


def mean_note(mean: dict[str, Any]) -> str:
    """Describe the mean over a run's last evaluations.

    Args:
        mean: scores, steps and protocol, as a checkpoint keeps them.

    Returns:
        A line.
    """
    steps, scores = mean["steps"], mean["scores"]
    shown = ", ".join(f"{name} {scores[name]:.2f}" for name in NOTED_SCORES if name in scores)
    when = f"{mean['protocol']}, steps {steps[0]} to {steps[-1]}"
    return f"mean of its last {len(steps)} evaluations while training ({when}): {shown}"
