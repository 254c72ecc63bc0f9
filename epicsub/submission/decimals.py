"""How many decimals each score of a segment needs, so that what the organisers rank stays ranked as it is.

The scorer ranks the 97 verbs of a segment, its 300 nouns, and the 100 highest verb x noun pairs, by the product of the
two softmaxes: by the sum of the two log-probabilities. A score may move as far as nothing near it is passed or met: two
scores move by less than their distance together, if each is rounded to a unit that is smaller than the distance. Pairs
move with both of their scores. So each score gets as many decimals as the nearest of its neighbours asks for, two to
four mostly; one number for all would have to be nine or more, and the file twice as large.

Letters: B segments, C classes (V verbs, M nouns), P pairs of ranks.
"""

from typing import NamedTuple

import numpy as np

FEWEST, MOST = 2, 12
"""Decimals. Scores or sums closer than 1e-12 are level: the softmax at the other end rounds more."""
RANKED_PAIRS = 100
"""The organisers' ranking of actions ends there."""
_REACH = RANKED_PAIRS + 1
_PAIRS = np.array([(i, j) for i in range(_REACH) for j in range(_REACH) if (i + 1) * (j + 1) <= _REACH]).T
"""(2, P) ranks from 0: the pair at ranks (i, j) is beaten by all at ranks <= i and <= j, so the 101 best are here."""
_BY_NOUN = np.lexsort((_PAIRS[0], _PAIRS[1]))
_FIRST_OF_VERB, _FIRST_OF_NOUN = (
    np.searchsorted(ranks, np.arange(_REACH)) for ranks in (_PAIRS[0], _PAIRS[1][_BY_NOUN])
)


class Rounded(NamedTuple):
    """Scores as whole numbers of their last decimal."""

    units: np.ndarray
    """(B, C) int64, the score times 10 ** decimals"""
    decimals: np.ndarray
    """(B, C) int64"""


def round_scores(verb_BV: np.ndarray, noun_BM: np.ndarray) -> tuple[Rounded, Rounded]:
    """Round the scores of B segments to as few decimals as keep their rankings for certain.

    Args:
        verb_BV: (B, 97) log-probabilities.
        noun_BM: (B, 300) log-probabilities.
    """
    scores = [table.astype(np.float64) for table in (verb_BV, noun_BM)]
    orders = [np.argsort(-table, axis=1) for table in scores]
    ranked = [np.take_along_axis(table, order, axis=1) for table, order in zip(scores, orders, strict=True)]
    room = [_room(table) for table in ranked]
    for own_BC, pairs_BR in zip(room, _room_of_pairs(*ranked), strict=True):
        classes = min(own_BC.shape[1], _REACH)
        own_BC[:, :classes] = np.minimum(own_BC[:, :classes], pairs_BR[:, :classes])
    shared = [_least_of_level(table, own) for table, own in zip(ranked, room, strict=True)]
    verb, noun = (_rounded(table, order, own) for table, order, own in zip(scores, orders, shared, strict=True))
    return verb, noun


def _rounded(scores_BC: np.ndarray, order_BC: np.ndarray, room_BC: np.ndarray) -> Rounded:
    needed_BC = np.clip(np.floor(-np.log10(room_BC)) + 1, FEWEST, MOST).astype(np.int64)
    decimals_BC = np.empty_like(needed_BC)
    np.put_along_axis(decimals_BC, order_BC, needed_BC, axis=1)
    return Rounded(np.rint(scores_BC * 10.0**decimals_BC).astype(np.int64), decimals_BC)


def _least_of_level(ranked_BC: np.ndarray, room_BC: np.ndarray) -> np.ndarray:
    """(B, C) the least room among scores that are level: they must be rounded alike to stay so."""
    first_BC = np.ones(ranked_BC.shape, dtype=bool)
    first_BC[:, 1:] = ranked_BC[:, :-1] - ranked_BC[:, 1:] > 10.0**-MOST
    starts = np.flatnonzero(first_BC)
    least = np.minimum.reduceat(room_BC.ravel(), starts)
    shared: np.ndarray = np.repeat(least, np.diff(starts, append=room_BC.size)).reshape(room_BC.shape)
    return shared


def _room(ranked_BC: np.ndarray) -> np.ndarray:
    """(B, C) distance from each score of a sorted row to the nearest that is not level with it."""
    gaps_BC = ranked_BC[:, :-1] - ranked_BC[:, 1:]
    apart_BC = gaps_BC > 10.0**-MOST
    places = np.arange(ranked_BC.shape[1])
    ends = np.ones((len(ranked_BC), 1), dtype=bool), np.full((len(ranked_BC), 1), np.inf)
    first_BC = np.maximum.accumulate(np.where(np.hstack([ends[0], apart_BC]), places, 0), axis=1)
    last_BC = np.where(np.hstack([apart_BC, ends[0]]), places, places[-1])
    last_BC = np.minimum.accumulate(last_BC[:, ::-1], axis=1)[:, ::-1]
    above_BC = np.take_along_axis(np.hstack([ends[1], gaps_BC]), first_BC, axis=1)
    below_BC = np.take_along_axis(np.hstack([gaps_BC, ends[1]]), last_BC, axis=1)
    room_BC: np.ndarray = np.minimum(above_BC, below_BC)
    return room_BC


def _room_of_pairs(verb_BV: np.ndarray, noun_BM: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, 101) each, by rank of verb and of noun: half the distance that the pairs with it leave to their neighbours.

    A pair below the hundredth may change places with others there, but must not reach the hundredth.
    """
    verb_BR, noun_BR = (_first(table) for table in (verb_BV, noun_BM))
    falls_BP = -(verb_BR[:, _PAIRS[0]] + noun_BR[:, _PAIRS[1]])
    best_BR = np.argpartition(falls_BP, RANKED_PAIRS - 1, axis=1)[:, :RANKED_PAIRS]
    best_falls = np.take_along_axis(falls_BP, best_BR, axis=1)
    order_BR = np.argsort(best_falls, axis=1)
    ranked_BR = -np.take_along_axis(best_falls, order_BR, axis=1)
    room_BP = falls_BP + ranked_BR[:, -1:]  # how far below the hundredth
    outside_BP = np.where(room_BP > 10.0**-MOST, room_BP, np.inf)
    np.put_along_axis(room_BP, np.take_along_axis(best_BR, order_BR, axis=1), _room(ranked_BR), axis=1)
    # What is level with the hundredth, in the ranking or not, must not meet the nearest below it.
    level_BP = np.abs(falls_BP + ranked_BR[:, -1:]) <= 10.0**-MOST
    nearest_B1 = outside_BP.min(axis=1, keepdims=True)
    room_BP = np.where(level_BP, np.minimum(np.where(room_BP > 10.0**-MOST, room_BP, np.inf), nearest_B1), room_BP) / 2
    verb_room = np.minimum.reduceat(room_BP, _FIRST_OF_VERB, axis=1)
    noun_room = np.minimum.reduceat(room_BP[:, _BY_NOUN], _FIRST_OF_NOUN, axis=1)
    return verb_room, noun_room


def _first(ranked_BC: np.ndarray) -> np.ndarray:
    """The first 101 ranks; where there are fewer classes, ranks that no pair can reach."""
    lacking = max(0, _REACH - ranked_BC.shape[1])
    return np.pad(ranked_BC[:, :_REACH], ((0, 0), (0, lacking)), constant_values=-1e4)
