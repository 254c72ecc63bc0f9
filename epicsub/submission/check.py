"""Everything that is wrong with a submission, before one of the day's uploads is spent on it."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epicsub.io import sha256
from epicsub.predictions import Predictions, name_some
from epicsub.submission.check_rows import check_rows
from epicsub.submission.json_text import CHALLENGES
from epicsub.submission.reopen import reopen
from epicsub.submission.reopened import Reopened
from epicsub.text import counted

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


def check_submission(
    path: Path,
    test_ids: Sequence[str] | None,
    expected_count: int | None,
    *,
    challenge: str = CHALLENGES[0],
    own: Predictions | None = None,
    other_lists: Mapping[str, Sequence[str]] | None = None,
) -> Findings:
    """Reopen submission.pt, submission.zip or submission_json.zip and say everything that is wrong with it at once.

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
    """
    path = Path(path)
    found = reopen(path, challenge)
    ids: dict[str, list[str]] = {}
    manifest = _manifest_beside(path, found)
    if found.readable:
        _check_count(found, expected_count)
        ids = _check_ids(found, test_ids, other_lists or {})
    check_rows(found, own, _filled(manifest))
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
    if ids["twice"]:
        what = counted(len(ids["twice"]), "narration id occurs", "narration ids occur")
        found.problems.append(f"{what} more than once: {name_some(ids['twice'])}")
    if test_ids is None:
        found.warnings.append("narration ids were not compared: no list of the test segments was given")
        _check_not_another_list(found, present, other_lists, guess=True)
        return ids
    wanted, there = set(test_ids), set(present)
    ids["missing"] = [name for name in test_ids if name not in there]
    ids["unexpected"] = [name for name in present if name not in wanted]
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
        content: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        stated = content["files"].get(path.name)
    except (ValueError, KeyError, TypeError, AttributeError):
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
