"""Scores that others made: whether they are probabilities or logits, and the organisers' JSON, read.

That JSON is of EK100's classes, or of MM-SADA's eight verbs.

{"version", "challenge", "results" or "results_target": {ID: {"verb": {"0": score, ...}, "noun": {...}}}}

Runs of TA3N on MM-SADA's kitchens (D1, D2, D3) come under the header of the domain adaptation challenge, with eight
verbs and ids like P01_11_1924: the video, and the number of the narration in EPIC-KITCHENS-55. They are given EK100's
verb classes and the ids that `epicsub data lists` gives these segments (EK55_1924).

Letters: N segments, C classes.
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
from epicsub.text import name_some

PROBABILITY_FLOOR = 1e-12
"""No probability is taken as smaller, so that every log-probability is finite and no pair comes out as zero at the
organisers' scorer: it takes ONE softmax over the whole (N, C) matrix, in the float32 it is given, and multiplies verb
by noun. The smallest product is then 1e-12 / N * 1e-12 / N, 6e-33 for N = 13,092, above float32's 1.2e-38."""

SUM_TOLERANCE = 1e-2
"""How far a row of probabilities may sum from one: half-precision and averaged files stay within it."""

_OTHER_LOGARITHMS = {"negative log-probabilities": -1.0, "logarithms to base 10": np.log(10), "to base 2": np.log(2)}
"""What a table of log-probabilities is multiplied by where it holds others than natural ones."""


def to_logprobs(tables: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Turn scores of either kind into log-probabilities.

    Args:
        tables: verb and noun, (N, C) finite float64 of the same segments.

    Returns:
        (N, C) float64 log-probabilities, and what the reader of the file should know, or nothing.

    Raises:
        PredictionsError: scores of two kinds, or of none that can be told.
    """
    for name, factor in _OTHER_LOGARITHMS.items():
        if all((np.sign(factor) * table <= 0).all() and _sums_to_one(factor * table) for table in tables.values()):
            raise PredictionsError(f"the scores are {name}; multiply them by {factor:.6g}, which makes natural ones")
    probable = {kind: are_probabilities(table) for kind, table in tables.items()}
    note = ""
    if not all(rows.all() for rows in probable.values()) and are_scaled(tables):
        note = f"rows sum to {_range_of(tables)}: read as probabilities times that"
        probable = {kind: np.ones(len(table), bool) for kind, table in tables.items()}
    if all(rows.all() for rows in probable.values()):
        shares = {kind: table / table.sum(axis=1, keepdims=True) for kind, table in tables.items()}
        return {kind: np.log(np.maximum(table, PROBABILITY_FLOOR)) for kind, table in shares.items()}, note
    if any(rows.any() for rows in probable.values()) or _one_scaled(tables):
        probable = {kind: rows | _constant(tables[kind]) for kind, rows in probable.items()}
        counts = ", ".join(f"{rows.sum()} of {len(rows)} {kind} rows" for kind, rows in probable.items())
        raise PredictionsError(f"a mixture with logits: {counts} are probabilities; give one kind for all rows")
    if all((table >= 0).all() and (table <= 1).all() and table.any() for table in tables.values()):
        raise PredictionsError(
            f"all scores lie between 0 and 1, and rows sum to {_range_of(tables)}: these are neither probabilities of "
            "exclusive classes nor logits; write log-probabilities, or what the model gave before its last sigmoid"
        )
    return {kind: table - log_sum(table)[:, None] for kind, table in tables.items()}, ""


def are_probabilities(table_NC: np.ndarray) -> np.ndarray:
    """Find the rows that are nowhere negative and sum to one, within `SUM_TOLERANCE`.

    Args:
        table_NC: (N, C) scores.

    Returns:
        (N,) bool.
    """
    sums_N = table_NC.sum(axis=1, dtype=np.float64)
    return np.asarray((table_NC.min(axis=1) >= 0) & (np.abs(sums_N - 1) <= SUM_TOLERANCE))


def are_scaled(tables: Mapping[str, np.ndarray]) -> bool:
    """Whether tables hold probabilities times a constant, as where those of 30 views are added up, or percentages.

    Args:
        tables: (N, C) scores of the same segments.

    Returns:
        True where no score is negative, and the rows of each table sum to one number (of several segments), or each
        segment's rows to the same number in all tables.
    """
    if not all((table >= 0).all() and table.any(axis=1).all() for table in tables.values()):
        return False
    sums = [table.sum(axis=1, dtype=np.float64) for table in tables.values()]
    alike = len(sums) > 1 and all(np.allclose(one, sums[0], rtol=SUM_TOLERANCE, atol=0) for one in sums[1:])
    return alike or all(_constant(table) for table in tables.values())


def log_sum(table_NC: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials of each row.

    Args:
        table_NC: (N, C).

    Returns:
        (N,) float64.
    """
    table_NC = table_NC.astype(np.float64, copy=False)
    top_N1 = table_NC.max(axis=1, keepdims=True)
    return np.asarray(top_N1[:, 0] + np.log(np.exp(table_NC - top_N1).sum(axis=1)))


def _sums_to_one(logs_NC: np.ndarray) -> bool:
    return bool((np.abs(log_sum(logs_NC)) <= SUM_TOLERANCE).all())


def _constant(table_NC: np.ndarray) -> bool:
    """Whether the rows of several segments are nowhere negative and sum to one number."""
    if len(table_NC) < 2 or table_NC.min() < 0:
        return False
    sums_N = table_NC.sum(axis=1, dtype=np.float64)
    return bool(sums_N.min() > 0 and np.ptp(sums_N) <= SUM_TOLERANCE * sums_N.max())


def _one_scaled(tables: Mapping[str, np.ndarray]) -> bool:
    """Whether the rows of one table sum to a constant, and those of another do not."""
    return any(_constant(table) for table in tables.values())


def _range_of(tables: Mapping[str, np.ndarray]) -> str:
    sums = np.concatenate([table.sum(axis=1, dtype=np.float64) for table in tables.values()])
    low, high = float(sums.min()), float(sums.max())
    return f"{np.median(sums):.4g}" if high - low <= SUM_TOLERANCE * high else f"{low:.4g} to {high:.4g}"


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
        raise PredictionsError(
            f"{path}: not JSON: line {error.lineno}, column {error.colno}; write it again"
        ) from error
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
        problems.append(f"{kind} scores are not of the classes 0 to {classes - 1}, as they must be: {counts}")
    if words:
        problems.append(f"{kind} scores that are no numbers, as they must be: {name_some(words)}")
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
