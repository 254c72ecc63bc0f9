"""Choosing an ensemble on labelled segments, and saying honestly what the choice gains.

A score on the segments that chose the weights flatters them. So the whole procedure (temperatures, weights, and which
search is trusted) is repeated with whole kitchens left out, and each left-out kitchen is scored with what the others
chose (nested cross-validation; Varma and Simon, "Bias in error estimation when using cross-validation for model
selection", 2006). What is applied to the test list is learned from all of them.

Letters: K members, N segments, C classes of a head, F folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions
from epicsub.submission.ensemble_rules import HEADS, Blend, Head, Rule, blend_head, equal_blend, floored, tables_of
from epicsub.submission.ensemble_search import fit_greedy, fit_likelihood, fit_temperature
from epicsub.validation.bootstrap import Interval, bootstrap_videos, interval
from epicsub.validation.scores import hits_of

How = Literal["equal", "search", "greedy", "likelihood"]
HOWS: tuple[str, ...] = get_args(How)
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
        """(N,) class ids of a head."""
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
        """{"value", "low", "high"}; without an interval the value alone."""
        ends = {"low": self.interval.low, "high": self.interval.high} if self.interval else {}
        return {name: round(number, 4) for name, number in {"value": self.value, **ends}.items()}


Figures = dict[str, Figure]


@dataclass(frozen=True)
class Learned:
    """What was chosen, and what that is worth on kitchens that did not choose it."""

    blend: Blend
    """learned from all segments; to be applied to the test list"""
    how: dict[str, str]
    """by head the search that was trusted: equal, greedy or likelihood"""
    out_of_fold: Predictions
    """each kitchen predicted with what the others chose"""
    mean: Figures = field(default_factory=dict)
    """the equal mean of the members under the rule"""
    chosen: Figures = field(default_factory=dict)
    """the chosen ensemble, cross-validated"""
    gain: Figures = field(default_factory=dict)
    """chosen less mean, segment by segment"""
    in_sample: Figures = field(default_factory=dict)
    """the chosen ensemble on the very segments that chose it: not to be reported as its score"""
    folds: int = 0


def learn(labelled: Labelled, rule: Rule, how: How | Mapping[str, tuple[float, ...]], temperature: bool) -> Learned:
    """Choose the weights and temperatures of verbs and nouns apart.

    Args:
        labelled: the members on labelled segments of at least two kitchens, or two videos of one.
        rule: see ensemble_rules.py.
        how: `equal`; `greedy`; `likelihood`; `search`, which takes of the three the one with the best cross-validated
            top-1 in each head, the simpler one where they tie; or weights by head, which are then not learned.
        temperature: learn one for each member and head.

    Raises:
        SubmissionError: all segments are of one video, or a search that the rule has not.
    """
    fold_N = folds_of(labelled)
    verb, noun = (_Problem(rule, tables_of(labelled.members, kind), labelled.classes(kind)) for kind in HEADS)
    heads, trusted, tables = {}, {}, {}
    for kind, problem in zip(HEADS, (verb, noun), strict=True):
        given = how if isinstance(how, str) else how[kind]
        fit = _fitter(given, temperature, labelled)
        tables[kind] = cross_validate(problem, fold_N, fit)
        heads[kind], trusted[kind] = fit(problem, np.arange(len(fold_N)))
    blend = Blend(rule, heads["verb"], heads["noun"])
    ids = labelled.members[0].narration_ids
    out = Predictions(ids, *(floored(tables[kind]) for kind in HEADS))
    mean = equal_blend(len(labelled.members), rule).apply(labelled.members)
    return Learned(
        blend=blend,
        how=trusted,
        out_of_fold=out,
        mean=figures(labelled, mean),
        chosen=figures(labelled, out),
        gain=figures(labelled, out, mean),
        in_sample=figures(labelled, blend.apply(labelled.members)),
        folds=int(fold_N.max()) + 1,
    )


def figures(labelled: Labelled, predictions: Predictions, other: Predictions | None = None) -> Figures:
    """Verb, noun and action top-1 and action top-5 in percent; less those of `other` where it is given."""
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
    """Which fold each segment is in, (N,): whole kitchens, the largest first into the smallest fold.

    Where there is one kitchen only, its videos take the place of kitchens.

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


@dataclass(frozen=True)
class _Problem:
    """One head: K tables (N, C) and the labels (N,)."""

    rule: Rule
    tables: Sequence[np.ndarray]
    labels: np.ndarray

    def rows(self, chosen: np.ndarray) -> "_Problem":
        return _Problem(self.rule, [table[chosen] for table in self.tables], self.labels[chosen])


Fit = Callable[[_Problem, np.ndarray], tuple[Head, str]]


def cross_validate(problem: _Problem, fold_N: np.ndarray, fit: Fit) -> np.ndarray:
    """Log-probabilities (N, C) of the head, each fold by what the others chose."""
    found_NC = np.zeros(problem.tables[0].shape)
    for fold in range(int(fold_N.max()) + 1):
        inside, outside = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        head, _ = fit(problem.rows(outside), outside)
        found_NC[inside] = blend_head(problem.rule, problem.rows(inside).tables, head)
    return found_NC


def _fitter(how: str | tuple[float, ...], temperature: bool, labelled: Labelled) -> Fit:
    """A function of a problem and of the rows of `labelled` that it is made of, to a head and how it was found."""

    def fit(problem: _Problem, rows: np.ndarray) -> tuple[Head, str]:
        count = len(problem.tables)
        warmth = tuple(fit_temperature(table, problem.labels) if temperature else 1.0 for table in problem.tables)
        if not isinstance(how, str):
            return Head(how, warmth), "given"
        if how == "greedy":
            return Head(fit_greedy(problem.rule, problem.tables, problem.labels, warmth), warmth), how
        if how == "likelihood":
            return Head(fit_likelihood(problem.rule, problem.tables, problem.labels, warmth), warmth), how
        if how == "search" and count > 1:
            best = _most_trusted(problem, rows, temperature, labelled)
            return _fitter(best, temperature, labelled)(problem, rows)
        return Head((1 / count,) * count, warmth), "equal"

    return fit


def _most_trusted(problem: _Problem, rows: np.ndarray, temperature: bool, labelled: Labelled) -> str:
    """Of the searches the one that does best on kitchens that it has not seen; the simpler one where they tie.

    On one video alone none can be tried, so none is trusted: the members count alike.
    """
    part = Labelled([], labelled.labels.iloc[rows])
    if len(set(part.videos)) == 1:
        return "equal"
    fold_N = folds_of(part)
    candidates = ["equal", "likelihood", "greedy"] if problem.rule != "rank" else ["equal", "greedy"]
    right = {}
    for name in candidates:
        table_NC = cross_validate(problem, fold_N, _fitter(name, temperature, part))
        right[name] = int((table_NC.argmax(axis=1) == problem.labels).sum())
    return max(candidates, key=lambda name: right[name])
