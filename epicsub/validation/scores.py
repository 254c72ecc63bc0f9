"""The organisers' scores, computed exactly and without ranking every pair.

Definition (epic-kitchens/C1-Action-Recognition, `utils/scoring.py` and `utils/metrics.py`): a segment counts at k when
its class is among the k highest scores; an action (verb, noun) when its pair is among the k highest products of
softmax(verb) and softmax(noun), formed from the 97 verbs and the 100 highest nouns.

How it is done here. Products rank as sums of log-probabilities, in float64. Sort verbs and nouns, and number ranks from
0: the pair at ranks (i, j) is beaten by every pair at ranks <= i and <= j, so a pair among the K highest has
(i+1)(j+1) <= K. A segment with k or more of these few sums (K = k) above its own is a miss; one with at most k sums
(K = k + 1) at or above its own, itself counted, is a hit: were there a pair outside at or above it, the k + 1 or more
inside that beat that pair would be too. Only exact ties are left, and only those segments are ranked in full.

Ties go as in the organisers' code wherever numpy's sort is stable (theirs is numpy's default, which is not for more
than 16 values): of equal classes, the last id wins. Actions are sorted twice there, the 100 highest pairs first and
then these 100 again, each time reversed, so among equal pairs the order of (verb rank, noun rank) is reversed twice.

Letters: N segments, C classes, V verbs, M nouns.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import ValidationError
from epicsub.predictions import Predictions
from epicsub.text import name_some
from epicsub.validation.protocol import TASKS

CANDIDATES = 100
"""How many verbs, nouns and pairs the organisers' ranking of actions looks at."""

Hits = dict[tuple[str, int], np.ndarray]


def hits_of(
    predictions: Predictions, joined: pd.DataFrame, tasks: Sequence[str] = TASKS, verbs: Sequence[int] | None = None
) -> Hits:
    """Find which labels are among the highest.

    Args:
        predictions: N segments.
        joined: their labels, as `join` gives them.
        tasks: which of verb, noun and action.
        verbs: the only verbs that are ranked; None: all 97.

    Returns:
        (task, k) -> (N,) bool, for k of 1 and 5.
    """
    verb_NV, verb_N = ranked_verbs(predictions, joined, verbs)
    noun_N = joined["noun_class"].to_numpy()
    of_task = {
        "verb": lambda k: hits_at(verb_NV, verb_N, k),
        "noun": lambda k: hits_at(predictions.noun_logprobs, noun_N, k),
        "action": lambda k: action_hits_at(verb_NV, predictions.noun_logprobs, verb_N, noun_N, k),
    }
    return {(task, k): of_task[task](k) for k in (1, 5) for task in tasks}


def ranked_verbs(
    predictions: Predictions, joined: pd.DataFrame, verbs: Sequence[int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Take the verbs that are ranked.

    Args:
        predictions: N segments.
        joined: their labels.
        verbs: the only verbs that are ranked; None: all 97.

    Returns:
        (N, V) log-probabilities in the order of the verbs' ids, and (N,) the column of each label.
    """
    verb_N = joined["verb_class"].to_numpy()
    if verbs is None:
        return predictions.verb_logprobs, verb_N
    columns = np.array(sorted(verbs))
    return predictions.verb_logprobs[:, columns], np.searchsorted(columns, verb_N)


def scores_of(hits: Hits, rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Average hits to the organisers' scores.

    Args:
        hits: as `hits_of` gives them.
        rows: as `Reference.subsets` gives them.

    Returns:
        Percent by name; a score over no segment is left out.
    """
    tasks = [task for task in TASKS if (task, 1) in hits]
    scores = {f"all_{task}_accuracy_at_{k}": hits[task, k] for task in tasks for k in (1, 5)}
    scores |= {f"tail_{task}_accuracy_at_1": hits[task, 1][rows[f"tail_{task}"]] for task in tasks}
    scores |= {f"unseen_{task}_accuracy_at_1": hits[task, 1][rows["unseen"]] for task in tasks}
    return {name: float(100 * counted.mean()) for name, counted in scores.items() if len(counted)}


def join(
    predictions: Predictions,
    labels: pd.DataFrame,
    tasks: Sequence[str] = TASKS,
    verbs: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Join labels on narration id.

    Args:
        predictions: N segments.
        labels: a labelled list.
        tasks: that are scored.
        verbs: the only verbs that are ranked; None: all 97.

    Returns:
        Labels in the order of `predictions`, indexed by narration id.

    Raises:
        ValidationError: segments without labels, or labels that are no classes of the challenge.
    """
    by_id = labels.set_index("narration_id")
    unknown = [name for name in predictions.narration_ids if name not in by_id.index]
    problems = []
    if unknown:
        problems.append(
            f"{len(unknown)} of {len(predictions)} predicted segments are not in the labelled list: "
            f"{name_some(unknown)}; the list has {name_some(by_id.index, 3)}; are these predictions for another list?"
        )
    for task, column, classes in (("verb", "verb_class", NUM_VERBS), ("noun", "noun_class", NUM_NOUNS)):
        outside = by_id.index[(by_id[column] < 0) | (by_id[column] >= classes)]
        if task in tasks and len(outside):
            problems.append(f"{column} is not within 0 to {classes - 1}, as it must be, for {name_some(outside)}")
    if verbs is not None and len(outside := by_id.index[~by_id["verb_class"].isin(list(verbs))]):
        problems.append(
            f"verb_class must be one of {', '.join(map(str, sorted(verbs)))}, and is not for {name_some(outside)}"
        )
    if problems:
        raise ValidationError("\n".join(problems))
    return by_id.loc[predictions.narration_ids]


def hits_at(scores_NC: np.ndarray, label_N: np.ndarray, k: int) -> np.ndarray:
    """Find whether each label is among the k highest scores. Of equal scores the last class is the higher.

    Args:
        scores_NC: (N, C).
        label_N: (N,) class ids.
        k: how many count.

    Returns:
        (N,) bool.
    """
    own_N1 = np.take_along_axis(scores_NC, label_N[:, None], axis=1)
    later_NC = np.arange(scores_NC.shape[1]) > label_N[:, None]
    before_N = ((scores_NC > own_N1) | ((scores_NC == own_N1) & later_NC)).sum(axis=1)
    hits: np.ndarray = before_N < k
    return hits


def action_hits_at(
    verb_NV: np.ndarray, noun_NM: np.ndarray, verb_N: np.ndarray, noun_N: np.ndarray, k: int
) -> np.ndarray:
    """Find whether each (verb, noun) label is among the k highest pairs.

    Args:
        verb_NV: (N, V) log-probabilities.
        noun_NM: (N, M) log-probabilities.
        verb_N: (N,) column of the verb.
        noun_N: (N,) class id of the noun.
        k: how many count.

    Returns:
        (N,) bool.
    """
    rows = np.arange(len(verb_N))
    own_N1 = (verb_NV[rows, verb_N].astype(np.float64) + noun_NM[rows, noun_N])[:, None]
    sums = _highest_sums(verb_NV, noun_NM, k + 1)
    above_N = sum((sum_N1 > own_N1)[:, 0].astype(int) for sum_N1 in sums[k])
    level_N = sum((sum_N1 >= own_N1)[:, 0].astype(int) for sum_N1 in sums[k + 1])
    hits: np.ndarray = np.asarray(level_N <= k)
    for row in np.flatnonzero((above_N < k) & (level_N > k)):
        hits[row] = (verb_N[row], noun_N[row]) in _highest_pairs(verb_NV[row], noun_NM[row], k)
    return hits


def _highest_sums(verb_NV: np.ndarray, noun_NM: np.ndarray, most: int) -> dict[int, list[np.ndarray]]:
    """For K = most - 1 and most: the sums (N, 1) of the pairs at ranks (i, j) with (i+1)(j+1) <= K."""
    verb_NK = _descending(verb_NV, most)
    noun_NK = _descending(noun_NM, most)
    return {
        bound: [verb_NK[:, i, None] + noun_NK[:, j, None] for i, j in _ranks_within(bound)]
        for bound in (most - 1, most)
    }


def _ranks_within(bound: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(bound) for j in range(bound) if (i + 1) * (j + 1) <= bound)


def _descending(scores_NC: np.ndarray, most: int) -> np.ndarray:
    highest: np.ndarray = -np.sort(np.partition(-scores_NC.astype(np.float64), most, axis=1)[:, :most], axis=1)
    return highest


def _highest_pairs(verb_V: np.ndarray, noun_M: np.ndarray, k: int) -> list[tuple[int, int]]:
    """The k highest pairs of one segment by the organisers' two sorts, both stable here."""
    verbs = np.argsort(verb_V, kind="stable")[::-1][:CANDIDATES]
    nouns = np.argsort(noun_M, kind="stable")[::-1][:CANDIDATES]
    sums = (verb_V[verbs].astype(np.float64)[:, None] + noun_M[nouns]).ravel()
    first = np.argsort(sums, kind="stable")[::-1][:CANDIDATES]
    second = first[np.argsort(sums[first], kind="stable")[::-1][:k]]
    return [(int(verbs[i]), int(nouns[j])) for i, j in zip(*np.divmod(second, len(nouns)), strict=True)]
