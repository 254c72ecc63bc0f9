"""What is wrong with the scores of a submission, apart from whose they are.

Letters: N segments, V verbs, M nouns, C classes.
"""

from collections.abc import Collection

import numpy as np

from epicsub.predictions import PROBABILITY_FLOOR, SUM_TOLERANCE, Predictions, name_some
from epicsub.submission.ranking import Changed, changed_by_the_scorer, log_softmax
from epicsub.submission.reopened import KINDS, Reopened
from epicsub.text import counted


def check_rows(found: Reopened, own: Predictions | None, filled: Collection[str]) -> None:
    """Note rows that are not finite, constant, repeated, no log-probabilities, or ranked otherwise by the scorer.

    Args:
        found: the file; problems and warnings are added to it.
        own: the ensemble, whose ranking must come out. Default: each row's own softmax.
        filled: segments that may have the same scores, because they have the class prior.
    """
    usable = {kind: _usable(found, kind) for kind in KINDS}
    for kind, rows in usable.items():
        if rows:
            _check_kind(found, kind, np.array(list(rows)), np.stack(list(rows.values())))
    names = [name for name in usable["verb"] if name in usable["noun"]]
    if not names:
        return
    verb_NV, noun_NM = (np.stack([usable[kind][name] for name in names]) for kind in KINDS)
    _check_repeated(found, names, np.concatenate([verb_NV, noun_NM], axis=1), filled)
    _check_ranking(found, np.array(names), verb_NV, noun_NM, own)


def _usable(found: Reopened, kind: str) -> dict[str, np.ndarray]:
    """Rows by segment, the first of repeated ones, that can be looked at further; the others are noted."""
    usable: dict[str, np.ndarray] = {}
    for name, row in found.rows[kind]:
        if not np.isfinite(row).all():
            found.named[f"{kind} scores that are not finite"].append(name)
        elif np.ptp(row) == 0:
            found.named[f"{kind} scores that are the same for every class"].append(name)
        else:
            usable.setdefault(name, row)
    return usable


def _check_kind(found: Reopened, kind: str, names: np.ndarray, scores_NC: np.ndarray) -> None:
    totals_N = _log_totals(scores_NC)
    loose_N = ~_probable(scores_NC) & (np.abs(totals_N) > SUM_TOLERANCE)
    if loose_N.any():
        what = counted(int(loose_N.sum()), f"{kind} row is", f"{kind} rows are")
        found.warnings.append(
            f"{what} neither log-probabilities nor probabilities; the scorer takes one softmax over all rows, in which "
            f"rows lower than others can vanish: {name_some(names[loose_N])}"
        )


def _check_repeated(found: Reopened, names: list[str], scores_NC: np.ndarray, filled: Collection[str]) -> None:
    first: dict[bytes, str] = {}
    twins = []
    for name, row in zip(names, scores_NC, strict=True):
        if (other := first.setdefault(row.tobytes(), name)) != name and name not in filled:
            twins.append(f"{name} = {other}")
    if twins:
        what = counted(len(twins), "segment has", "segments have")
        found.problems.append(f"{what} the very scores of another, which no model gives two clips: {name_some(twins)}")


def _check_ranking(
    found: Reopened, names: np.ndarray, verb_NV: np.ndarray, noun_NM: np.ndarray, own: Predictions | None
) -> None:
    """Whether the formula ranks what was meant; rows of probabilities are known not to be, and measured."""
    probable = {kind: _probable(table) for kind, table in (("verb", verb_NV), ("noun", noun_NM))}
    any_probable_N = probable["verb"] | probable["noun"]
    meant = (_meant(verb_NV, probable["verb"]), _meant(noun_NM, probable["noun"]))
    changed = changed_by_the_scorer((verb_NV, noun_NM), meant)
    for kind, rows_N in probable.items():
        if rows_N.any():
            found.warnings.append(_about_probabilities(kind, names[rows_N], changed, any_probable_N))
    others_N = changed.any & ~any_probable_N
    if others_N.any():
        found.problems.append(
            f"the organisers' formula ranks {others_N.sum()} of {len(names)} segments otherwise than their own rows "
            f"say, because it takes one softmax over all rows; write log-probabilities: {name_some(names[others_N])}"
        )
    elif own is not None:
        _check_against(found, names, verb_NV, noun_NM, own)


def _check_against(
    found: Reopened, names: np.ndarray, verb_NV: np.ndarray, noun_NM: np.ndarray, own: Predictions
) -> None:
    known_N = np.isin(names, own.narration_ids)
    if not known_N.any():
        return
    chosen = own.select(names[known_N])
    lowest = np.log(PROBABILITY_FLOOR)  # what is written goes no lower
    meant = (np.maximum(chosen.verb_logprobs, lowest), np.maximum(chosen.noun_logprobs, lowest))
    changed = changed_by_the_scorer((verb_NV[known_N], noun_NM[known_N]), meant)
    if changed.any.any():
        wrong = chosen.narration_ids[changed.any]
        found.problems.append(
            f"{len(wrong)} of {len(chosen)} segments rank otherwise than the ensemble says: {name_some(wrong)}"
        )


def _about_probabilities(kind: str, names: np.ndarray, changed: Changed, probable_N: np.ndarray) -> str:
    top5, top1 = (100 * rows_N[probable_N].mean() for rows_N in (changed.action, changed.action_first))
    what = counted(len(names), f"{kind} row looks", f"{kind} rows look")
    return (
        f"{what} like probabilities; the scorer takes a softmax of what it is given, which changes the action top-5 of "
        f"{top5:.1f} % of such segments here and the best action of {top1:.1f} %, where log-probabilities come through "
        f"unchanged: {name_some(names)}"
    )


def _meant(scores_NC: np.ndarray, probable_N: np.ndarray) -> np.ndarray:
    """Log-probabilities of rows of either kind."""
    meant_NC = log_softmax(scores_NC)
    meant_NC[probable_N] = np.log(np.maximum(scores_NC[probable_N], PROBABILITY_FLOOR))
    return meant_NC


def _probable(scores_NC: np.ndarray) -> np.ndarray:
    sums_N = scores_NC.sum(axis=1, dtype=np.float64)
    probable_N: np.ndarray = (scores_NC.min(axis=1) >= 0) & (np.abs(sums_N - 1) <= SUM_TOLERANCE)
    return probable_N


def _log_totals(scores_NC: np.ndarray) -> np.ndarray:
    scores_NC = scores_NC.astype(np.float64)
    top_N1 = scores_NC.max(axis=1, keepdims=True)
    totals_N: np.ndarray = top_N1[:, 0] + np.log(np.exp(scores_NC - top_N1).sum(axis=1))
    return totals_N
