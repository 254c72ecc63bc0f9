"""Which kind of scores a file holds: probabilities, those times a constant, log-probabilities or logits.

Letters: N segments, C classes.
"""

from collections.abc import Mapping

import numpy as np

from epicsub.errors import PredictionsError

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
