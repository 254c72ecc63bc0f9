"""What must be said of a trained model beside its scores: an upper bound, a mean over a run's last evaluations."""

from collections.abc import Sequence
from typing import Any

from epicsub.training.checkpoint import Checkpoint

SHOWN = ("all_verb_accuracy_at_1", "all_noun_accuracy_at_1", "all_action_accuracy_at_1")


def upper_bound_note(lists: Sequence[str]) -> str:
    """What a model that learnt from the target's labels is."""
    return (
        f"upper bound: trained on the labels of the target ({', '.join(lists)}), no adaptation; scores on segments of "
        "these lists are of training"
    )


def notes_of(checkpoint: Checkpoint) -> list[str]:
    """Lines to print beside a checkpoint's scores."""
    notes = []
    if checkpoint.recipe["adaptation"]["method"] == "supervised":
        notes.append(upper_bound_note(checkpoint.recipe["data"]["source"]))
    if checkpoint.mean_of_last:
        notes.append(mean_note(checkpoint.mean_of_last))
    return notes


def mean_note(told: dict[str, Any]) -> str:
    """The mean over a run's last evaluations, in a line."""
    steps, scores = told["steps"], told["scores"]
    shown = ", ".join(f"{name} {scores[name]:.2f}" for name in SHOWN if name in scores)
    return (
        f"mean of its last {len(steps)} evaluations while training ({told['protocol']}, steps {steps[0]} to "
        f"{steps[-1]}): {shown}"
    )
