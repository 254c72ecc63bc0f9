"""Everything that is wrong with a submission, before one of the day's uploads is spent on it.

Letters: N segments, V verbs, M nouns, C classes.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.data.annotations import Segment
from epicsub.errors import SubmissionError
from epicsub.io import sha256
from epicsub.io.files import read_text
from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.predictions.foreign import SUM_TOLERANCE, are_probabilities, are_scaled
from epicsub.submission.ensemble import logsumexp
from epicsub.submission.json_zip import CHALLENGES
from epicsub.submission.ranking import Changed, changed_by_the_scorer, log_softmax
from epicsub.submission.reopen import KINDS, Reopened, reopen
from epicsub.text import counted, invisible_in, name_some

MOST_REPEATED = 0.01
"""Share of segments that may have the scores of another, as where a lens is covered; more come from no model."""
_FILMED_IN_2018 = re.compile(r"P\d\d_\d\d_\d+")
"""Narration ids of the first 32 kitchens' videos, of which the validation list has nothing else and the test none."""


@dataclass(frozen=True)
class Findings:
    """What was found; a file without problems may be uploaded."""

    problems: list[str]
    """the upload would fail, or score something that the model did not say"""
    warnings: list[str]
    """it would be taken, but may not be what was meant"""
    segments: int
    """entries that the file has"""
    ids: dict[str, list[str]] = field(default_factory=dict)
    """missing, unexpected, twice: every narration id of which that is so"""
    against: str = ""
    """what the ids or their number were compared with"""


def check_submission(
    path: Path,
    test_ids: Sequence[str] | None,
    expected_count: int | None,
    *,
    challenge: str = CHALLENGES[0],
    own: Predictions | None = None,
    other_lists: Mapping[str, Sequence[str]] | None = None,
    segments: Sequence[Segment] = (),
) -> Findings:
    """Reopen submission.pt, submission.zip or submission_json.zip and list everything that is wrong with it.

    Checked: that it reads (a .pt under plain `weights_only=True`), its form, types, lengths of 97 and 300, finite
    values, ids (twice, missing, unexpected, of another list), the count, constant and repeated rows, version, challenge
    and levels of test.json, that the organisers' formula ranks as the rows say, and that a manifest.json beside it, if
    there is one, means this very content.

    Args:
        path: the file.
        test_ids: ids that it must have; None leaves that unchecked, with a warning.
        expected_count: number that it must have; None leaves that unchecked.
        challenge: what test.json must be for.
        own: the ensemble, whose ranking must come out. Default: each row's own softmax.
        other_lists: ids of lists that may have been predicted by mistake, by file name.
        segments: of the list; those that overlap in time may have the same clip, and then have the same scores.

    Returns:
        Problems and warnings.
    """
    path = Path(path)
    found = reopen(path, challenge)
    ids: dict[str, list[str]] = {}
    manifest = _manifest_beside(path, found)
    if found.readable:
        _check_count(found, expected_count)
        ids = _check_ids(found, test_ids, other_lists or {})
    _check_rows(found, own, _filled(manifest), {segment.narration_id: segment for segment in segments})
    return Findings(found.all_problems(), found.warnings, len(found.ids), ids)


def _check_count(found: Reopened, expected_count: int | None) -> None:
    if expected_count is not None and len(found.ids) != expected_count:
        found.problems.append(
            f"{counted(len(found.ids), 'segment', 'segments')}, {expected_count} expected; "
            f"if your phase takes these, say --count {len(found.ids)}"
        )


def _check_ids(
    found: Reopened, test_ids: Sequence[str] | None, other_lists: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    present = list(dict.fromkeys(found.ids))
    ids = {"twice": [name for name, count in Counter(found.ids).items() if count > 1]}
    if unseen := [f"{name!r} ({', '.join(hidden)})" for name in present if (hidden := invisible_in(name))]:
        found.problems.append(f"narration ids with characters that do not show: {name_some(unseen)}")
    if ids["twice"]:
        what = counted(len(ids["twice"]), "narration id occurs", "narration ids occur")
        found.problems.append(f"{what} more than once: {name_some(ids['twice'])}")
    if test_ids is None:
        found.warnings.append("narration ids were not compared: no list of the test segments was given")
        _check_not_another_list(found, present, other_lists, guess=True)
        return ids
    expected, there = set(test_ids), set(present)
    ids["missing"] = [name for name in test_ids if name not in there]
    ids["unexpected"] = [name for name in present if name not in expected]
    if ids["missing"]:
        what = counted(len(ids["missing"]), "segment of the list is", "segments of the list are")
        found.problems.append(f"{what} missing: {name_some(ids['missing'])}")
    if ids["unexpected"]:
        what = counted(len(ids["unexpected"]), "segment is", "segments are")
        found.problems.append(f"{what} not in the list: {name_some(ids['unexpected'])}")
    _check_not_another_list(found, ids["unexpected"], other_lists, guess=False)
    return ids


def _check_not_another_list(
    found: Reopened, names: list[str], other_lists: Mapping[str, Sequence[str]], guess: bool
) -> None:
    for name, ids in other_lists.items():
        if shared := set(names).intersection(ids):
            what = counted(len(shared), "of its segments is", "of its segments are")
            found.problems.append(
                f"{what} in {name}, which has labels and is not sent; "
                "predict the test list (epicsub predict ... --split test)"
            )
            return
    if guess and names and all(_FILMED_IN_2018.fullmatch(name) for name in names):
        found.problems.append(
            "every segment is of a video of 2018, as in the validation list; the test list has none of these: "
            f"{name_some(names, 3)}"
        )


def _manifest_beside(path: Path, found: Reopened) -> dict[str, Any]:
    manifest = path.parent / "manifest.json"
    if not path.is_file() or not manifest.is_file():
        return {}
    try:
        content: dict[str, Any] = json.loads(read_text(manifest, SubmissionError))
        stated = content["files"].get(path.name)
    except (SubmissionError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        found.warnings.append(f"{manifest} beside it is not a manifest of epicsub")
        return {}
    if stated is not None and stated.get("sha256") != sha256(path):
        found.problems.append(f"{manifest} beside it was written for another content of {path.name}; submit again")
        return {}
    return content if stated is not None else {}


def _filled(manifest: Mapping[str, Any]) -> set[str]:
    """Segments that some member got the class prior for: these may have the same scores."""
    filled = manifest.get("filled_with_prior")
    return {name for names in filled.values() for name in names} if isinstance(filled, dict) else set()


def _check_rows(
    found: Reopened, own: Predictions | None, filled: Collection[str], segments: Mapping[str, Segment]
) -> None:
    """Note rows that are not finite, constant, repeated, no log-probabilities, or ranked otherwise by the scorer."""
    usable = {kind: _usable(found, kind) for kind in KINDS}
    for kind, rows in usable.items():
        if rows:
            _check_kind(found, kind, np.array(list(rows)), np.stack(list(rows.values())))
    names = [name for name in usable["verb"] if name in usable["noun"]]
    if not names:
        return
    verb_NV, noun_NM = (np.stack([usable[kind][name] for name in names]) for kind in KINDS)
    _check_repeated(found, names, np.concatenate([verb_NV, noun_NM], axis=1), filled, segments)
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
    totals_N = logsumexp(scores_NC.astype(np.float64))[:, 0]
    loose_N = ~are_probabilities(scores_NC) & (np.abs(totals_N) > SUM_TOLERANCE)
    if are_scaled({kind: scores_NC}):
        loose_N[:] = False  # told as probabilities
    if loose_N.any():
        what = counted(int(loose_N.sum()), f"{kind} row is", f"{kind} rows are")
        found.warnings.append(
            f"{what} neither log-probabilities nor probabilities; the scorer takes one softmax over all rows, in which "
            f"rows lower than others can vanish: {name_some(names[loose_N])}"
        )


def _check_repeated(
    found: Reopened,
    names: list[str],
    scores_NC: np.ndarray,
    filled: Collection[str],
    segments: Mapping[str, Segment],
) -> None:
    """Note segments with the very scores of another, unless both can have had the same clip."""
    alike: dict[bytes, list[str]] = defaultdict(list)
    twins = []
    for name, row in zip(names, scores_NC, strict=True):
        others = alike[row.tobytes()]
        if others and name not in filled and not any(_may_share_a_clip(name, other, segments) for other in others):
            twins.append(f"{name} = {others[0]}")
        others.append(name)
    if not twins:
        return
    what = counted(len(twins), "segment has", "segments have")
    if len(twins) > len(names) * MOST_REPEATED:
        found.problems.append(f"{what} the very scores of another, which no model gives two clips: {name_some(twins)}")
    else:
        found.warnings.append(f"{what} the very scores of another: are their pictures the same? {name_some(twins)}")


def _may_share_a_clip(name: str, other: str, segments: Mapping[str, Segment]) -> bool:
    """Whether two segments overlap in time: of one centre, both give a model the same pictures."""
    one, two = segments.get(name), segments.get(other)
    if one is None or two is None or one.video_id != two.video_id:
        return False
    return max(one.start, two.start) < min(one.stop, two.stop)


def _check_ranking(
    found: Reopened, names: np.ndarray, verb_NV: np.ndarray, noun_NM: np.ndarray, own: Predictions | None
) -> None:
    """Whether the formula ranks what was meant; rows of probabilities are known not to be, and measured."""
    tables = {"verb": verb_NV, "noun": noun_NM}
    probable = {kind: are_probabilities(table) | are_scaled(tables) for kind, table in tables.items()}
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
    shares_NC = scores_NC[probable_N] / scores_NC[probable_N].sum(axis=1, keepdims=True)
    meant_NC[probable_N] = np.log(np.maximum(shares_NC, PROBABILITY_FLOOR))
    return meant_NC
