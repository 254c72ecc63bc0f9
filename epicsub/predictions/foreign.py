"""Scores in the organisers' JSON, as others write it: of EK100's classes, or of MM-SADA's eight verbs.

{"version", "challenge", "results" or "results_target": {ID: {"verb": {"0": score, ...}, "noun": {...}}}}

Runs of TA3N on MM-SADA's kitchens (D1, D2, D3) come under the header of the domain adaptation challenge, with eight
verbs and ids like P01_11_1924: the video, and the number of the narration in EPIC-KITCHENS-55. They are given EK100's
verb classes and the ids that `epicsub data lists` gives these segments (EK55_1924).
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import PredictionsError
from epicsub.io.files import read_text
from epicsub.predictions.score_kinds import are_probabilities, are_scaled
from epicsub.text import name_some

RESULTS = ("results", "results_target")
MMSADA_VERBS = (0, 1, 3, 4, 2, 7, 10, 9)
"""EK100's classes of MM-SADA's eight verbs, in its order: take, put, open, close, wash, cut, mix, pour."""
MMSADA_ID = re.compile(r"P\d\d_\d\d_(\d+)")
FAR_BELOW = 30.0
"""How far below a row's lowest logit the classes lie that it has no score for: below a probability of 1e-13."""


def read_scores(path: Path) -> dict[str, Any]:
    """Read a JSON of scores.

    Args:
        path: the file.

    Returns:
        {"narration_id": N ids, "verb_output": (N, 97), "noun_output": (N, 300)}, logits or probabilities as they are.

    Raises:
        PredictionsError: not JSON, not of this layout, or rows that lack classes; all rows of a kind at once.
    """
    twice: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return made

    try:
        content = json.loads(read_text(path, PredictionsError), object_pairs_hook=take)
    except json.JSONDecodeError as error:
        raise PredictionsError(f"{path}: not JSON: line {error.lineno}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise PredictionsError(
            f"{path}: not JSON of scores: numbers too long, or objects too deep; write it again"
        ) from error
    if twice:
        raise PredictionsError(f"{path}: has keys more than once: {name_some(twice)}; write each once")
    found = [key for key in RESULTS if isinstance(content, dict) and isinstance(content.get(key), dict)]
    if len(found) != 1 or not content[found[0]]:
        keys = name_some(map(repr, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise PredictionsError(
            f"{path}: not predictions: holds {keys or 'nothing'}; expected one of {' or '.join(RESULTS)} with "
            '{narration id: {"verb": {"0": score, ...}, "noun": {...}}}'
        )
    try:
        return _of_rows(content[found[0]])
    except PredictionsError as error:
        raise PredictionsError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def _of_rows(rows: Mapping[str, Any]) -> dict[str, Any]:
    plain = [name for name, row in rows.items() if not isinstance(row, dict) or not isinstance(row.get("verb"), dict)]
    if plain:
        raise PredictionsError(f"not predictions: expected verb scores by class for {name_some(plain)}")
    eight = len(next(iter(rows.values()))["verb"]) == len(MMSADA_VERBS)
    verb_NV, problems = _table(rows, "verb", len(MMSADA_VERBS) if eight else NUM_VERBS)
    if eight:
        # MM-SADA has no nouns: TA3N writes none, or those of a head that nothing trained.
        if problems:
            raise PredictionsError("\n".join(problems))
        return _of_eight(list(rows), verb_NV)
    noun_NM, more = _table(rows, "noun", NUM_NOUNS)
    if problems or more:
        raise PredictionsError("\n".join(problems + more))
    return {"narration_id": list(rows), "verb_output": verb_NV, "noun_output": noun_NM}


def _table(rows: Mapping[str, Any], kind: str, classes: int) -> tuple[np.ndarray, list[str]]:
    """Scores (N, classes), and the problems of rows that have not one number for each class."""
    names = [str(number) for number in range(classes)]
    table, other, words = np.zeros((len(rows), classes)), {}, []
    for place, (name, row) in enumerate(rows.items()):
        scores = row.get(kind)
        if not isinstance(scores, dict) or len(scores) != classes or not all(one in scores for one in names):
            other[name] = len(scores) if isinstance(scores, dict) else 0
            continue
        values = [scores[one] for one in names]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            words.append(name)
            continue
        try:
            table[place] = values
        except OverflowError:  # a whole number beyond any float
            words.append(name)
    problems = []
    if other:
        counts = name_some(f"{name} ({count})" for name, count in other.items())
        problems.append(f"{kind} scores are not of the classes 0 to {classes - 1}: {counts}")
    if words:
        problems.append(f"{kind} scores that are no numbers: {name_some(words)}")
    return table, problems


def _of_eight(ids: list[str], scores_N8: np.ndarray) -> dict[str, Any]:
    renamed = [f"EK55_{match[1]}" if (match := MMSADA_ID.fullmatch(name)) else name for name in ids]
    scaled = are_scaled({"verb": scores_N8})
    probable_N = are_probabilities(scores_N8) | scaled
    if scaled:
        scores_N8 = scores_N8 / scores_N8.sum(axis=1, keepdims=True)
    verb_NV = np.where(probable_N, 0.0, scores_N8.min(axis=1) - FAR_BELOW)[:, None].repeat(NUM_VERBS, axis=1)
    verb_NV[:, MMSADA_VERBS] = scores_N8
    noun_NM = np.where(probable_N, 1 / NUM_NOUNS, 0.0)[:, None].repeat(NUM_NOUNS, axis=1)  # all alike
    return {"narration_id": renamed, "verb_output": verb_NV, "noun_output": noun_NM}
