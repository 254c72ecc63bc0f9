"""What the organisers' formula makes of a file's scores: which classes and pairs it puts first.

Definition (epic-kitchens/C1-Action-Recognition, `utils/scoring.py`): ONE softmax over the whole table of verbs, one
over the 100 highest nouns of every row, in the precision that they were sent in; actions rank by the product. Rounding
keeps products in the order of their factors, so the five highest are among the pairs at ranks (i, j), from 0, with
(i + 1)(j + 1) <= 5; only these ten are formed.

Letters: N segments, V verbs, M nouns, C classes, K ranks.
"""

from typing import NamedTuple

import numpy as np

COUNTED = 5
"""The lowest rank that scores: accuracy at 1 and at 5."""
_NOUNS = 100
_PAIRS = np.array([(i, j) for i in range(COUNTED) for j in range(COUNTED) if (i + 1) * (j + 1) <= COUNTED]).T
_LEVEL = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-9}
"""Log-probabilities closer than this are level: the formula, in that precision, cannot tell them apart. In float32 it
subtracts numbers of 16 and more, which rounds by 2e-6, and takes two exponentials."""


class Changed(NamedTuple):
    """(N,) bool each: where the formula puts others first than the model."""

    verb: np.ndarray
    noun: np.ndarray
    action_first: np.ndarray
    """the best action is another"""
    action: np.ndarray
    """any of the five best actions is another, or they stand in another order"""

    @property
    def any(self) -> np.ndarray:
        """(N,) bool: any of them."""
        changed: np.ndarray = self.verb | self.noun | self.action
        return changed


def log_softmax(scores_NC: np.ndarray) -> np.ndarray:
    """Normalise each row.

    Args:
        scores_NC: (N, C) logits or log-probabilities.

    Returns:
        (N, C) float64 log-probabilities.
    """
    scores_NC = scores_NC.astype(np.float64)
    shifted_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
    logs: np.ndarray = shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True))
    return logs


def changed_by_the_scorer(
    sent: tuple[np.ndarray, np.ndarray], meant: tuple[np.ndarray, np.ndarray], level: float | None = None
) -> Changed:
    """Compare the five best verbs, nouns and actions of each segment with what the model says.

    Scores that are level may stand in either order.

    Args:
        sent: (N, 97) and (N, 300) scores as they lie in the file, float32 or float64.
        meant: (N, 97) and (N, 300) log-probabilities.
        level: log-probabilities closer than this are level. Default: what the precision of `sent` cannot tell apart.

    Returns:
        Where the formula puts others first.
    """
    level = _LEVEL[sent[0].dtype] if level is None else level
    means = [table.astype(np.float64) for table in meant]
    firsts = [_highest(table, mean, COUNTED) for table, mean in zip(sent, means, strict=True)]
    best = [-np.sort(-_take(table, _highest(table, table, COUNTED)), axis=1) for table in means]
    single = [
        (np.abs(_take(table, first) - top) > level).any(axis=1)
        for table, first, top in zip(means, firsts, best, strict=True)
    ]
    verb_NK, noun_NK = (
        _take(table, first) for table, first in zip(map(_softmax_over_all, sent, (97, _NOUNS)), firsts, strict=True)
    )
    with np.errstate(under="ignore"):
        products = verb_NK[:, _PAIRS[0]] * noun_NK[:, _PAIRS[1]]
    sums = _take(means[0], firsts[0])[:, _PAIRS[0]] + _take(means[1], firsts[1])[:, _PAIRS[1]]
    order = _highest(products, sums, COUNTED)
    got = _take(sums, order)
    wanted = -np.sort(-(best[0][:, _PAIRS[0]] + best[1][:, _PAIRS[1]]), axis=1)[:, :COUNTED]
    off = np.abs(got - wanted) > 2 * level
    # Products that came out as zero, or with few bits left, are level: which of them stands first says nothing.
    lost = _take(products, order) < np.finfo(products.dtype).tiny
    return Changed(single[0], single[1], off[:, 0] | lost[:, 0], off.any(axis=1) | lost.any(axis=1))


def _softmax_over_all(scores_NC: np.ndarray, kept: int) -> np.ndarray:
    """The organisers' softmax, in the precision given: it has no axis, so rows are not normalised one by one."""
    top = scores_NC.max()
    with np.errstate(under="ignore"):
        powers = np.exp(scores_NC - top)
        counted = powers if kept >= scores_NC.shape[1] else np.partition(powers, -kept, axis=1)[:, -kept:]
        shares: np.ndarray = powers / counted.sum()
    return shares


def _highest(scores_NC: np.ndarray, meant_NC: np.ndarray, most: int) -> np.ndarray:
    """(N, K) places of the highest scores, highest first.

    Of equal ones the one that was meant lowest comes first: numpy's sort, which the organisers take, promises no order.
    """
    order_NC = np.argsort(meant_NC, axis=1, kind="stable")
    found_NK = np.argsort(-_take(scores_NC, order_NC), axis=1, kind="stable")[:, :most]
    return _take(order_NC, found_NK)


def _take(table_NC: np.ndarray, places_NK: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table_NC, places_NK, axis=1)
