"""The segments that a model is surest of and wrong about."""

from typing import Any

import numpy as np

from epicsub.predictions import Predictions
from epicsub.validation.background import Background
from epicsub.validation.calibration import confidences
from epicsub.validation.detail import chosen_classes
from epicsub.validation.report import Reference
from epicsub.validation.scores import ranked_verbs

SHOWN = 24


def confident_mistakes(
    predictions: Predictions, reference: Reference, background: Background, most: int = SHOWN
) -> list[dict[str, Any]]:
    """The `most` wrong segments of highest confidence, surest first: actions, or verbs where there are no nouns.

    Each has id, kitchen, seconds (None if the list has no times), confidence and, for verb and noun, the true class,
    the given class and the probability of either.

    Raises:
        ValidationError: predictions for segments outside the list.
    """
    joined, hits = reference.hits(predictions)
    task = "action" if "action" in reference.tasks else "verb"
    verb_NV, verb_N = ranked_verbs(predictions, joined, reference.verbs)
    sure_N = confidences(verb_NV, predictions.noun_logprobs)[task]
    wrong = np.flatnonzero(~hits[task, 1])
    chosen = chosen_classes(predictions, reference)
    found: list[dict[str, Any]] = []
    for row in wrong[np.argsort(-sure_N[wrong], kind="stable")[:most]]:
        label = joined.iloc[row]
        heads: dict[str, dict[str, Any]] = {}
        for head in (name for name in ("verb", "noun") if name in reference.tasks):
            logprobs = {"verb": verb_NV, "noun": predictions.noun_logprobs}[head][row]
            column = verb_N[row] if head == "verb" else label["noun_class"]
            powers = np.exp(logprobs - logprobs.max(), dtype=np.float64)
            heads[head] = {
                "true": background.name(head, int(label[f"{head}_class"])),
                "given": background.name(head, int(chosen[head][row])),
                "right": bool(chosen[head][row] == label[f"{head}_class"]),
                "p_given": float(powers.max() / powers.sum()),
                "p_true": float(powers[column] / powers.sum()),
            }
        found.append(
            {
                "id": str(joined.index[row]),
                "kitchen": str(label["participant_id"]),
                "seconds": float(label["seconds"]) if "seconds" in joined else None,
                "confidence": float(sure_N[row]),
                **heads,
            }
        )
    return found
