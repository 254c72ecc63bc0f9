"""Differences of paired runs."""

import numpy as np
from scipy import stats


def paired(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean difference, and half of its 95 % confidence interval by Student's t."""
    differences = np.array([one - other for one, other in pairs])
    if len(differences) < 2:
        return float(differences.mean()) if len(differences) else float("nan"), float("nan")
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean()), float(stats.t.ppf(0.975, len(differences) - 1) * error)
