"""Labelled segments, what an ensemble scores on them, and fits of the weights and temperatures of one head.

- temperature: the T that gives the labels the highest likelihood (Guo et al. 2017, section 4.2), one per member.
- likelihood: the weights, not negative and with the sum one, that give the labels the highest likelihood.
  For the mean of probabilities this is the mixture of fixed components, whose log-likelihood is concave in the weights;
  for the mean of logits it is a linear function less a log-sum-exp of linear functions, concave too. scipy's SLSQP
  therefore finds the one best value, from wherever it starts.
- greedy: ensemble selection with replacement (Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004,
  sections 2.1 and 2.2): begin with the best member, add again and again the one with which most segments are right, and
  take the weights of the best round. Of members that do equally well the one with the larger mean margin is taken.

Letters: K members, N segments, C classes of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize, minimize_scalar

from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions
from epicsub.submission.ensemble import Rule, logsumexp, part_of, tempered
from epicsub.validation.bootstrap import Interval, bootstrap_videos, interval
from epicsub.validation.scores import hits_of

ROUNDS = 20
COLDEST, HOTTEST = 0.05, 20.0
FOLDS = 5
FIGURES = (("verb", 1), ("noun", 1), ("action", 1), ("action", 5))


@dataclass(frozen=True)
class Labelled:
    """Labelled segments that K members have predicted, all in the same order."""

    members: Sequence[Predictions]
    labels: pd.DataFrame
    """narration_id as index, participant_id, verb_class, noun_class; N rows in the members' order"""

    @property
    def kitchens(self) -> np.ndarray:
        """(N,) str."""
        return self.labels["participant_id"].to_numpy(dtype=str)

    @property
    def videos(self) -> np.ndarray:
        """(N,) str: a narration id is the video's id and a number."""
        return np.array([str(name).rsplit("_", 1)[0] for name in self.labels.index])

    def classes(self, kind: str) -> np.ndarray:
        """Class ids of a head.

        Args:
            kind: verb or noun.

        Returns:
            (N,) int.
        """
        return self.labels[f"{kind}_class"].to_numpy()


@dataclass(frozen=True)
class Figure:
    """A score in percent, or a difference in points, with its interval by resampling videos."""

    value: float
    interval: Interval | None

    @property
    def gain(self) -> bool:
        """Whether the interval lies above zero."""
        return self.interval is not None and self.interval.low > 0

    def __str__(self) -> str:
        return f"{self.value:.1f}" + (f" [{self.interval.low:.1f}, {self.interval.high:.1f}]" if self.interval else "")

    def as_json(self) -> dict[str, Any]:
        """The figure as plain numbers.

        Returns:
            {"value", "low", "high"}; without an interval the value alone.
        """
        ends = {"low": self.interval.low, "high": self.interval.high} if self.interval else {}
        return {name: round(number, 4) for name, number in {"value": self.value, **ends}.items()}


Figures = dict[str, Figure]


def figures(labelled: Labelled, predictions: Predictions, other: Predictions | None = None) -> Figures:
    """Score predictions: verb, noun and action top-1 and action top-5.

    Args:
        labelled: the labels of N segments, and which videos they are of.
        predictions: of these segments in the same order.
        other: predictions to compare with.

    Returns:
        Percent by figure (`verb@1`, ...), or points more than `other`.
    """
    samples = bootstrap_videos(labelled.videos)
    hits = hits_of(predictions, labelled.labels)
    base = hits_of(other, labelled.labels) if other else None
    found = {}
    for task, k in FIGURES:
        change_N = hits[task, k].astype(float) - (base[task, k] if base else 0)
        ends = interval(samples.accuracy(change_N)) if samples.videos > 1 else None
        found[f"{task}@{k}"] = Figure(float(100 * change_N.mean()), ends)
    return found


def folds_of(labelled: Labelled, count: int = FOLDS) -> np.ndarray:
    """Split segments into folds of whole kitchens, the largest first into the smallest fold.

    Where there is one kitchen only, its videos take the place of kitchens.

    Args:
        labelled: N segments.
        count: number of folds; fewer where there are fewer kitchens.

    Returns:
        (N,) the fold of each segment.

    Raises:
        SubmissionError: one video only.
    """
    groups = labelled.kitchens if len(set(labelled.kitchens)) > 1 else labelled.videos
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 2:
        raise SubmissionError(
            f"all {len(groups)} labelled segments are of one video ({names[0]}): what is learned there cannot be "
            "cross-validated; give weights by hand, such as --weights 0.5,0.5"
        )
    load = np.zeros(min(count, len(names)), dtype=int)
    fold_of = {}
    for name, size in sorted(zip(names.tolist(), sizes.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])):
        fold_of[name] = int(load.argmin())
        load[fold_of[name]] += size
    return np.array([fold_of[name] for name in groups.tolist()])


def fit_temperature(table_NC: np.ndarray, label_N: np.ndarray) -> float:
    """Fit the temperature of one member and head.

    Args:
        table_NC: (N, C) log-probabilities.
        label_N: (N,) class ids.

    Returns:
        The temperature, within 0.05 to 20.
    """

    def loss(log_temperature: float) -> float:
        scaled_NC = table_NC / np.exp(log_temperature)
        own_N = np.take_along_axis(scaled_NC, label_N[:, None], axis=1)
        return float((logsumexp(scaled_NC) - own_N).mean())

    table_NC = table_NC.astype(np.float64)
    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3}).x))


def fit_likelihood(
    rule: Rule, tables: Sequence[np.ndarray], label_N: np.ndarray, temperatures: Sequence[float]
) -> tuple[float, ...]:
    """Fit the weights that give the labels the highest likelihood.

    Args:
        rule: mean or logits.
        tables: K arrays (N, C) of log-probabilities.
        label_N: (N,) class ids.
        temperatures: of the members.

    Returns:
        (K,) weights with the sum one.

    Raises:
        SubmissionError: ranks have no likelihood.
    """
    if rule == "rank":
        raise SubmissionError(
            "--weights likelihood with --rule rank: ranks have no likelihood; take greedy, or the rule mean or logits"
        )
    count = len(tables)
    if count == 1:
        return (1.0,)
    rows = np.arange(len(label_N))
    whole = [tempered(table, warmth) for table, warmth in zip(tables, temperatures, strict=True)]
    own_NK = np.stack([table[rows, label_N] for table in whole], axis=1)
    own_NK = np.exp(own_NK) if rule == "mean" else own_NK
    objective = (lambda w: _mixture(w, own_NK)) if rule == "mean" else (lambda w: _log_linear(w, own_NK, whole))
    found = minimize(
        objective,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-7, "maxiter": 100},
    )
    weights_K = np.where(found.x < 1e-4, 0.0, found.x)
    return tuple((weights_K / weights_K.sum()).tolist())


def fit_greedy(
    rule: Rule, tables: Sequence[np.ndarray], label_N: np.ndarray, temperatures: Sequence[float], rounds: int = ROUNDS
) -> tuple[float, ...]:
    """Select members with replacement by top-1 accuracy.

    Args:
        rule: see ensemble.py.
        tables: K arrays (N, C) of log-probabilities.
        label_N: (N,) class ids.
        temperatures: of the members.
        rounds: how many times a member is added.

    Returns:
        (K,) weights with the sum one.
    """
    others, owns = [], []
    for table_NC, temperature in zip(tables, temperatures, strict=True):
        part_NC = part_of(rule, table_NC, temperature).astype(np.float32)
        owns.append(np.take_along_axis(part_NC, label_N[:, None], axis=1)[:, 0].copy())
        np.put_along_axis(part_NC, label_N[:, None], -np.inf, axis=1)
        others.append(part_NC)
    counts_K, best, best_counts = np.zeros(len(tables)), (-1.0, -np.inf), np.zeros(len(tables))
    other_NC, own_N = np.zeros_like(others[0]), np.zeros_like(owns[0])
    for taken in range(1, rounds + 1):
        tried = [_right(own_N + owns[k], other_NC + others[k], taken) for k in range(len(tables))]
        chosen = max(range(len(tables)), key=lambda k: tried[k])
        counts_K[chosen] += 1
        other_NC, own_N = other_NC + others[chosen], own_N + owns[chosen]
        if tried[chosen] > best:
            best, best_counts = tried[chosen], counts_K.copy()
    return tuple((best_counts / best_counts.sum()).tolist())


def _right(own_N: np.ndarray, other_NC: np.ndarray, taken: int) -> tuple[float, float]:
    """Share of segments that are right, and the mean margin, of a sum of so many members."""
    margin_N = own_N - other_NC.max(axis=1)
    return float((margin_N > 0).mean()), float(margin_N.mean()) / taken


def _mixture(weights_K: np.ndarray, own_NK: np.ndarray) -> tuple[float, np.ndarray]:
    """Negative mean log-likelihood of a mixture and its gradient."""
    total_N = np.maximum(own_NK @ weights_K, 1e-300)
    return float(-np.log(total_N).mean()), -(own_NK / total_N[:, None]).mean(axis=0)


def _log_linear(weights_K: np.ndarray, own_NK: np.ndarray, whole: Sequence[np.ndarray]) -> tuple[float, np.ndarray]:
    """Negative mean log-likelihood of softmax(sum_k w_k z_k) and its gradient."""
    total_NC = sum(weight * table for weight, table in zip(weights_K, whole, strict=True))
    norm_N1 = logsumexp(np.asarray(total_NC))
    share_NC = np.exp(total_NC - norm_N1)
    expected_K = np.array([(share_NC * table).sum(axis=1).mean() for table in whole])
    return float((norm_N1[:, 0] - own_NK @ weights_K).mean()), expected_K - own_NK.mean(axis=0)
