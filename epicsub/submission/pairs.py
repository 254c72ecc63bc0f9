"""Which verbs go with which nouns: re-ranking by how often training pairs them, written back into the two vectors.

The server multiplies a verb vector and a noun vector, as if the one said nothing of the other. Training says otherwise:
`cut` goes with `onion` and hardly with `tap`. With C(v, n) segments of a pair among T, and E(v, n) = C(v) C(n) / T
expected if verbs and nouns were independent, the ratio is

    r(v, n) = (C(v, n) + 1) / (E(v, n) + 1),

the mean of a ratio with a Gamma(1, 1) prior around one after C events where E were expected (DuMouchel, "Bayesian data
mining in large frequency tables", 1999, eq. 7): pairs too rare to say anything stay near one. The joint probability
with strength s, from 0 (none) to 1 (Bayes' rule where what is seen of verb and noun is independent given both), is

    q(v, n) ~ p(v) p(n) r(v, n)^s.

What is written back are the marginals of q, p(v) sum_n p(n) r(v, n)^s and p(n) sum_v p(v) r(v, n)^s: of all products of
two vectors the one nearest to q in KL(q || product). Then, so that the server's first pair is q's, the verb and the
noun of q's best pair are raised to just above the first verb and noun where they are not first. Which of this helps is
measured in benchmarks/ensembles.py and by the tests on pairs with known co-occurrence.

Letters: N segments, V verbs, M nouns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.predictions import Predictions
from epicsub.submission.ensemble import floored, logsumexp
from epicsub.submission.search import Figures, Labelled, figures, folds_of
from epicsub.validation.scores import hits_of
from epicsub.validation.tables import read_classes

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
ABOVE = 1e-3  # by how much a raised class tops the first, as a log-probability: 2,500 steps of float32 there
_ROWS = 64


@dataclass(frozen=True)
class Strength:
    """How strongly the pairs of training count, and what that is worth."""

    value: float
    """0 where it does not help by more than its interval"""
    best: float
    """the strength with most actions right on all labelled segments, used or not"""
    gain: Figures
    """with the strength chosen on the other kitchens, less without any: cross-validated"""


def read_ratio(path: Path) -> np.ndarray:
    """Read how much more often a labelled list pairs each verb and noun than chance.

    Args:
        path: the list.

    Returns:
        log r(v, n), (97, 300) float64.

    Raises:
        ValidationError: no such table, or its labels are no classes.
    """
    return log_ratio(read_classes(path, "verb_class"), read_classes(path, "noun_class"))


def log_ratio(verbs: Sequence[int], nouns: Sequence[int]) -> np.ndarray:
    """Measure how much more often each verb and noun are paired than chance.

    Args:
        verbs: verb class of each training segment.
        nouns: noun class of each.

    Returns:
        log r(v, n), (97, 300) float64.
    """
    seen_VM = np.zeros((NUM_VERBS, NUM_NOUNS))
    np.add.at(seen_VM, (np.asarray(verbs), np.asarray(nouns)), 1)
    expected_VM = np.outer(seen_VM.sum(axis=1), seen_VM.sum(axis=0)) / max(len(verbs), 1)
    return np.asarray(np.log(seen_VM + 1) - np.log(expected_VM + 1))


def rerank(predictions: Predictions, log_ratio_VM: np.ndarray, strength: float) -> Predictions:
    """Write what training's pairs say back into the two vectors of each segment.

    Args:
        predictions: N segments.
        log_ratio_VM: (97, 300), see `log_ratio`.
        strength: s, from 0 to 1.

    Returns:
        Predictions of the same segments.
    """
    if strength == 0:
        return predictions
    verb_NV, noun_NM = (part.astype(np.float64) for part in (predictions.verb_logprobs, predictions.noun_logprobs))
    weight_VM = strength * log_ratio_VM
    factor_VM = np.exp(weight_VM)
    best_verb_N, best_noun_N = _best_pairs(verb_NV, noun_NM, weight_VM)
    made = []
    for own_NC, seen_NC, best_N in (
        (verb_NV, np.exp(noun_NM) @ factor_VM.T, best_verb_N),
        (noun_NM, np.exp(verb_NV) @ factor_VM, best_noun_N),
    ):
        marginal_NC = own_NC + np.log(seen_NC)
        made.append(floored(_raised(marginal_NC - logsumexp(marginal_NC), best_N)))
    return Predictions(predictions.narration_ids, made[0], made[1])


def _best_pairs(verb_NV: np.ndarray, noun_NM: np.ndarray, weight_VM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Verb and noun of the highest log p(v) + log p(n) + weight(v, n) of each segment, (N,) each."""
    best = [
        (verb_NV[at : at + _ROWS, :, None] + noun_NM[at : at + _ROWS, None, :] + weight_VM)
        .reshape(-1, weight_VM.size)
        .argmax(axis=1)
        for at in range(0, len(verb_NV), _ROWS)
    ]
    verb_N, noun_N = np.divmod(np.concatenate(best), weight_VM.shape[1])
    return verb_N, noun_N


def choose_strength(labelled: Labelled, predictions: Predictions, log_ratio_VM: np.ndarray) -> Strength:
    """The strength with most actions right; 0 unless it helps by more than its interval on kitchens left out.

    Args:
        labelled: the labels, and which kitchens and videos they are of.
        predictions: of the ensemble for the same segments in the same order, out of fold where it was learned.
        log_ratio_VM: (97, 300) of the training list.

    Returns:
        The strength and its gain.

    Raises:
        SubmissionError: all segments are of one video.
    """
    tried = [rerank(predictions, log_ratio_VM, strength) for strength in STRENGTHS]
    right_SN = np.stack([hits_of(one, labelled.labels, ("action",))["action", 1] for one in tried])
    fold_N = folds_of(labelled)
    verb_NV, noun_NM = predictions.verb_logprobs.copy(), predictions.noun_logprobs.copy()
    for fold in range(int(fold_N.max()) + 1):
        inside = fold_N == fold
        chosen = tried[int(right_SN[:, ~inside].sum(axis=1).argmax())]
        verb_NV[inside], noun_NM[inside] = chosen.verb_logprobs[inside], chosen.noun_logprobs[inside]
    out = Predictions(predictions.narration_ids, verb_NV, noun_NM)
    gain = figures(labelled, out, predictions)
    best = STRENGTHS[int(right_SN.sum(axis=1).argmax())]
    return Strength(best if gain["action@1"].gain else 0.0, best, gain)


def _raised(logprobs_NC: np.ndarray, best_N: np.ndarray) -> np.ndarray:
    """Each row with its best class first, by `ABOVE`, where it was not; rows sum to one again."""
    rows = np.arange(len(best_N))
    top_N = logprobs_NC.max(axis=1)
    below_N = logprobs_NC.argmax(axis=1) != best_N
    raised_NC = logprobs_NC.copy()
    raised_NC[rows[below_N], best_N[below_N]] = top_N[below_N] + ABOVE
    return np.asarray(raised_NC - logsumexp(raised_NC))
