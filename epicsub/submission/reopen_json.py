"""Reopening test.json, the organisers' format of version 0.2."""

import json
from collections import Counter
from typing import Any

import numpy as np

from epicsub.predictions import name_some
from epicsub.submission.json_text import JSON_VERSION, RESULTS
from epicsub.submission.reopened import KINDS, Reopened
from epicsub.submission.supervision import HIGHEST

_HEAD_KEYS = ("version", "challenge", "sls_pt", "sls_tl", "sls_td")
_CLASSES = {classes: tuple(map(str, range(classes))) for classes in KINDS.values()}


def reopen_json(text: bytes, challenge: str, found: Reopened) -> None:
    """Read the text of test.json into `found`; never raises for its content."""
    keys = (*_HEAD_KEYS, RESULTS[challenge])
    twice: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> Any:
        """An object of the file: scores become an array at once, which keeps memory low."""
        if len(pairs) in _CLASSES:
            names, values = zip(*pairs, strict=True)
            if set(map(type, values)) <= {int, float}:
                scores_C = _scores(names, values)
                if scores_C is not None:
                    return scores_C
        twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=take)
    except (ValueError, RecursionError) as error:
        found.problems.append(f"test.json is not JSON: {error}")
        return
    if twice:
        found.problems.append(f"test.json has keys more than once: {name_some(twice)}")
    if not isinstance(content, dict):
        found.problems.append(f"test.json is no object with {', '.join(keys)}")
        return
    _check_head(content, challenge, keys, found)
    results = content.get(keys[-1], {})
    if not isinstance(results, dict):
        found.problems.append(f"{keys[-1]} is no object of narration ids")
        return
    found.readable = True
    for name, entry in results.items():
        found.ids.append(name)
        for kind, classes in KINDS.items():
            _take_scores(name, kind, classes, entry, found)


def _check_head(content: dict[str, Any], challenge: str, keys: tuple[str, ...], found: Reopened) -> None:
    for key in keys:
        if key not in content:
            instead = [other for other in RESULTS.values() if other != key and other in content]
            hint = f"; it has {instead[0]}, which is of another challenge" if key == keys[-1] and instead else ""
            found.problems.append(f"test.json lacks {key}{hint}")
    for key, expected in (("version", JSON_VERSION), ("challenge", challenge)):
        if key in content and content[key] != expected:
            found.problems.append(f"{key} is {content[key]!r}, {expected!r} expected")
    for key in _HEAD_KEYS[2:]:
        if key in content and (type(content[key]) is not int or not 0 <= content[key] <= HIGHEST):
            found.problems.append(f"{key} is {content[key]!r}, a whole number from 0 to {HIGHEST} expected")
    if others := [key for key in content if key not in keys]:
        found.warnings.append(f"test.json also has {name_some(others)}")


def _scores(names: tuple[str, ...], values: tuple[float, ...]) -> np.ndarray | None:
    """Scores by class number, or None if the keys are not "0" to the last class, or a number is beyond any float."""
    expected = _CLASSES[len(names)]
    try:
        if names != expected:
            by_name = dict(zip(names, values, strict=True))
            values = tuple(by_name[name] for name in expected)
        return np.array(values, dtype=np.float64)
    except (KeyError, OverflowError):
        return None


def _take_scores(name: str, kind: str, classes: int, entry: Any, found: Reopened) -> None:
    if not isinstance(entry, dict) or kind not in entry:
        found.named[f"without {kind}"].append(name)
        return
    scores = entry[kind]
    if isinstance(scores, np.ndarray) and len(scores) == classes:
        found.rows[kind].append((name, scores))
    elif isinstance(scores, np.ndarray | dict) and len(scores) != classes:
        found.named[f"{kind} has {len(scores)} classes, {classes} expected"].append(name)
    elif isinstance(scores, dict) and set(scores) == {str(number) for number in range(classes)}:
        found.named[f"{kind} has values that are no numbers"].append(name)
    else:
        found.named[f'{kind} has not the keys "0" to "{classes - 1}"'].append(name)
