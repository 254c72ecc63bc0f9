"""Everything that is wrong with a submission, before one of the day's uploads is spent on it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epicsub.files import sha256
from epicsub.predictions import SUM_TOLERANCE, name_some
from epicsub.submission.reopen import Reopened, reopen


@dataclass(frozen=True)
class Findings:
    """What was found; a file without problems may be uploaded."""

    problems: list[str]
    """the upload would fail, or score something that the model did not say"""
    warnings: list[str]
    """it would be taken, but may not be what was meant"""
    segments: int
    """entries that the file has"""


def check_submission(path: Path, test_ids: Sequence[str] | None, expected_count: int | None) -> Findings:
    """Reopen submission.pt, submission.zip or submission_json.zip and say everything that is wrong with it at once.

    Checked: that it reads (a .pt under plain `weights_only=True`), its form, types, lengths of 97 and 300, finite
    values, ids (twice, missing, unexpected), the count, constant rows, version, challenge and levels of test.json, and
    that a manifest.json beside it, if there is one, means this very content.

    Args:
        path: the file.
        test_ids: ids that it must have; None leaves that unchecked, with a warning.
        expected_count: number that it must have; None leaves that unchecked.
    """
    path = Path(path)
    found = reopen(path)
    if found.readable:
        _check_ids(found, test_ids, expected_count)
    for kind in found.rows:
        _check_rows(found, kind)
    if path.is_file():
        _check_manifest(path, found)
    return Findings(found.all_problems(), found.warnings, len(found.ids))


def _check_ids(found: Reopened, test_ids: Sequence[str] | None, expected_count: int | None) -> None:
    if expected_count is not None and len(found.ids) != expected_count:
        found.problems.append(
            f"{len(found.ids)} segments, {expected_count} expected; "
            f"if your phase takes these, say --count {len(found.ids)}"
        )
    if twice := [name for name, count in Counter(found.ids).items() if count > 1]:
        found.problems.append(f"{len(twice)} narration ids occur more than once: {name_some(twice)}")
    if test_ids is None:
        found.warnings.append("narration ids were not compared: no list of the test segments was given")
        return
    present, wanted = set(found.ids), set(test_ids)
    if missing := [name for name in test_ids if name not in present]:
        found.problems.append(f"{len(missing)} segments of the list are missing: {name_some(missing)}")
    if unexpected := [name for name in dict.fromkeys(found.ids) if name not in wanted]:
        found.problems.append(f"{len(unexpected)} segments are not in the list: {name_some(unexpected)}")


def _check_rows(found: Reopened, kind: str) -> None:
    if not found.rows[kind]:
        return
    names = np.array([name for name, _ in found.rows[kind]])
    scores_NC = np.stack([row for _, row in found.rows[kind]])
    finite_N = np.isfinite(scores_NC).all(axis=1)
    if not finite_N.all():
        found.named[f"{kind} scores that are not finite"] += names[~finite_N].tolist()
    names, scores_NC = names[finite_N], scores_NC[finite_N]
    constant_N = np.ptp(scores_NC, axis=1) == 0
    if constant_N.any():
        found.named[f"{kind} scores that are the same for every class"] += names[constant_N].tolist()
    names, scores_NC = names[~constant_N], scores_NC[~constant_N]
    if not len(names):
        return
    probable_N = (scores_NC.min(axis=1) >= 0) & (np.abs(scores_NC.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if probable_N.any():
        found.warnings.append(
            f"{probable_N.sum()} {kind} rows look like probabilities; the scorer takes a softmax of what it is given, "
            "which changes the action top-5, where log-probabilities come through unchanged: "
            f"{name_some(names[probable_N])}"
        )
    top_N1 = scores_NC.max(axis=1, keepdims=True)
    totals_N = top_N1[:, 0] + np.log(np.exp(scores_NC - top_N1).sum(axis=1))
    loose_N = ~probable_N & (np.abs(totals_N) > SUM_TOLERANCE)
    if loose_N.any():
        found.warnings.append(
            f"{loose_N.sum()} {kind} rows are neither log-probabilities nor probabilities; the scorer takes one "
            f"softmax over all rows, in which rows lower than others can vanish: {name_some(names[loose_N])}"
        )


def _check_manifest(path: Path, found: Reopened) -> None:
    manifest = path.parent / "manifest.json"
    if not manifest.is_file():
        return
    try:
        stated = json.loads(manifest.read_text(encoding="utf-8"))["files"].get(path.name)
    except (ValueError, KeyError, TypeError, AttributeError):
        found.warnings.append(f"{manifest} beside it is not a manifest of epicsub")
        return
    if stated is not None and stated.get("sha256") != sha256(path):
        found.problems.append(f"{manifest} beside it was written for another content of {path.name}; submit again")
