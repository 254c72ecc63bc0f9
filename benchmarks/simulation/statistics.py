"""Paired differences over seeds, with diverged runs counted and never dropped silently."""

import math
from dataclasses import dataclass

import numpy as np
from pairs import interval

from simulation.runs import Run


@dataclass(frozen=True)
class Difference:
    """Points of an arm over another, over shared seeds."""

    mean: float
    low: float
    """Of the 95 % interval (paired t)."""
    high: float
    seeds: int
    """Pairs that both finished."""
    diverged: int
    """Seeds on which one of the two diverged: not in the mean, so to be read beside it."""


def accuracies(runs: dict[int, Run]) -> np.ndarray:
    """Of the runs that finished, by seed."""
    return np.array([runs[seed]["accuracy"] for seed in sorted(runs) if runs[seed]["accuracy"] is not None])


def paired(arm: dict[int, Run], control: dict[int, Run]) -> Difference:
    """Arm minus control on the seeds that both have."""
    shared = sorted(set(arm) & set(control))
    pairs = [(arm[seed]["accuracy"], control[seed]["accuracy"]) for seed in shared]
    differences = np.array([a - b for a, b in pairs if a is not None and b is not None])
    half = interval(differences)
    mean = float(differences.mean()) if len(differences) else math.nan
    return Difference(mean, mean - half, mean + half, len(differences), len(pairs) - len(differences))
