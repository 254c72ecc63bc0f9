"""Differences of paired runs."""

import math

import numpy as np
from scipy import stats


def paired(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean difference, and half of its 95 % confidence interval by Student's t."""
    differences = np.array([one - other for one, other in pairs])
    return float(differences.mean()) if len(differences) else math.nan, interval(differences)


def interval(values: np.ndarray) -> float:
    """Half the width of the 95 % t interval of a mean; nan for fewer than two values."""
    if len(values) < 2:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=min(1, len(values) - 1)):.1f}" if values else "-"
