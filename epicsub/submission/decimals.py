"""How many decimals the scores of a segment need, so that what the organisers rank stays ranked as it is.

The scorer ranks the 97 verbs of a segment, its 300 nouns, and the 100 highest verb x noun pairs, by the product of the
two softmaxes: by the sum of the two log-probabilities. Rounding keeps order but ties neighbours, and may swap sums. So
every row gets the fewest decimals with which verbs, nouns and pairs that were apart stay apart and in order. Most rows
need three to five. One number for all 13,092 rows would have to be nine or more, and the file twice as large.

Letters: B segments, C classes (V verbs, M nouns), R ranks looked at, P pairs of ranks.
"""

from typing import NamedTuple

import numpy as np

FEWEST, MOST = 3, 12
"""Decimals. Pairs whose sums differ by less than 1e-12 are level: the softmax at the other end rounds more."""
RANKED_PAIRS = 100
"""The organisers' ranking of actions ends there."""
_PAIRS = np.array(
    [
        (verb, noun)
        for verb in range(RANKED_PAIRS + 1)
        for noun in range(RANKED_PAIRS + 1)
        if (verb + 1) * (noun + 1) <= RANKED_PAIRS + 1
    ]
).T
"""(2, P) ranks from 0: the pair at ranks (i, j) is beaten by all at ranks <= i and <= j, so the 101 best are here."""


class Rounded(NamedTuple):
    """Scores as whole numbers of their last decimal."""

    units: np.ndarray
    """(B, C) int64, the score times 10 ** decimals"""
    decimals: np.ndarray
    """(B,) int64"""


def round_scores(verb_BV: np.ndarray, noun_BM: np.ndarray) -> tuple[Rounded, Rounded]:
    """Round the scores of B segments to as few decimals as keep their rankings.

    Args:
        verb_BV: (B, 97) log-probabilities.
        noun_BM: (B, 300) log-probabilities.
    """
    scores = [table.astype(np.float64) for table in (verb_BV, noun_BM)]
    orders = [np.argsort(-table, axis=1, kind="stable") for table in scores]
    ranked = [np.take_along_axis(table, order, axis=1) for table, order in zip(scores, orders, strict=True)]
    decimals = [_apart(table) for table in ranked]
    _keep_pairs(ranked, decimals)
    verb, noun = (Rounded(_units(table, count_B), count_B) for table, count_B in zip(scores, decimals, strict=True))
    return verb, noun


def _units(scores_BC: np.ndarray, decimals_B: np.ndarray) -> np.ndarray:
    units: np.ndarray = np.rint(scores_BC * 10.0 ** decimals_B[:, None]).astype(np.int64)
    return units


def _apart(ranked_BC: np.ndarray) -> np.ndarray:
    """(B,) fewest decimals with which different scores of a row, sorted, stay different."""
    decimals_B = np.full(len(ranked_BC), FEWEST)
    rows = np.arange(len(ranked_BC))
    while len(rows):
        rows = rows[_tied(ranked_BC[rows], decimals_B[rows]) & (decimals_B[rows] < MOST)]
        decimals_B[rows] += 1
    return decimals_B


def _tied(ranked_BC: np.ndarray, decimals_B: np.ndarray) -> np.ndarray:
    """(B,) whether different neighbours of a sorted row become the same."""
    same_BC = np.diff(_units(ranked_BC, decimals_B), axis=1) == 0
    tied_B: np.ndarray = (same_BC & (np.diff(ranked_BC, axis=1) < 0)).any(axis=1)
    return tied_B


def _keep_pairs(ranked: list[np.ndarray], decimals: list[np.ndarray]) -> None:
    """Raise the decimals of verbs and nouns together where the 100 highest pairs would not stay in order.

    More decimals can tie what fewer held apart: 0.46451 and 0.46449 differ in three decimals, not in four. So each
    raise is looked at anew.
    """
    verb_BR, noun_BR = (_first(table, RANKED_PAIRS + 1) for table in ranked)
    sums_BP = verb_BR[:, _PAIRS[0]] + noun_BR[:, _PAIRS[1]]
    outside = sums_BP.shape[1] - RANKED_PAIRS
    order_BP = np.argsort(sums_BP, axis=1)
    apart_BR = np.diff(np.take_along_axis(sums_BP, order_BP[:, outside - 1 :], axis=1), axis=1) > 10.0**-MOST
    rows = np.arange(len(sums_BP))
    while len(rows):
        verb_units, noun_units = (
            _units(table[rows], count_B[rows]) * 10 ** (MOST - count_B[rows, None])
            for table, count_B in ((verb_BR, decimals[0]), (noun_BR, decimals[1]))
        )
        units_BP = verb_units[:, _PAIRS[0]] + noun_units[:, _PAIRS[1]]
        units_BP = np.take_along_axis(units_BP, order_BP[rows], axis=1)
        highest_before = np.maximum.accumulate(units_BP, axis=1)[:, outside - 1 : -1]
        lowest_after = np.minimum.accumulate(units_BP[:, : outside - 1 : -1], axis=1)[:, ::-1]
        wrong_B = ((highest_before >= lowest_after) & apart_BR[rows]).any(axis=1)
        for table, count_B in zip(ranked, decimals, strict=True):
            wrong_B |= _tied(table[rows], count_B[rows])
        rows = rows[wrong_B & (np.maximum(decimals[0], decimals[1])[rows] < MOST)]
        for count_B in decimals:
            count_B[rows] += 1


def _first(ranked_BC: np.ndarray, most: int) -> np.ndarray:
    """The first `most` ranks; where there are fewer classes, ranks that no pair can reach."""
    lacking = max(0, most - ranked_BC.shape[1])
    return np.pad(ranked_BC[:, :most], ((0, 0), (0, lacking)), constant_values=-1e4)
