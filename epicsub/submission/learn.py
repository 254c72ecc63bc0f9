"""Choosing an ensemble on labelled segments, and measuring honestly what the choice gains.

A score on the segments that chose the weights flatters them. So the whole procedure (temperatures, weights, and which
search is trusted) is repeated with whole kitchens left out, and each left-out kitchen is scored with what the others
chose (nested cross-validation; Varma and Simon, "Bias in error estimation when using cross-validation for model
selection", 2006). What is applied to the test list is learned from all of them.

A plan takes members one by one, each time the one with which the equal mean gets most actions right (forward selection
without replacement). The order that is shown is that of all labelled segments. What the member at a place adds is
measured apart from it: for each fold of kitchens the order is chosen on the others, and the fold measures what its own
member at that place added; so a lucky member cannot show its luck as a gain.

Letters: K members, N segments, C classes of a head, F folds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from epicsub.predictions import Predictions
from epicsub.submission.ensemble import HEADS, Blend, Head, Rule, blend_head, equal_blend, floored, part_of, tables_of
from epicsub.submission.search import (
    Figure,
    Figures,
    Labelled,
    figures,
    fit_greedy,
    fit_likelihood,
    fit_temperature,
    folds_of,
)
from epicsub.validation.bootstrap import bootstrap_videos, interval

How = Literal["equal", "search", "greedy", "likelihood"]
HOWS: tuple[str, ...] = get_args(How)


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
        rule: see ensemble.py.
        how: `equal`; `greedy`; `likelihood`; `search`, which takes of the three the one with the best cross-validated
            top-1 in each head, the simpler one where they tie; or weights by head, which are then not learned.
        temperature: learn one per member and head.

    Returns:
        What was chosen, and what it scores on kitchens that did not choose it.

    Raises:
        SubmissionError: all segments are of one video, or a search that the rule has not.
    """
    fold_N = folds_of(labelled)
    verb, noun = (_Problem(rule, tables_of(labelled.members, kind), labelled.classes(kind)) for kind in HEADS)
    heads, trusted, tables = {}, {}, {}
    for kind, problem in zip(HEADS, (verb, noun), strict=True):
        given = how if isinstance(how, str) else how[kind]
        fit = _fitter(given, temperature, labelled)
        tables[kind] = _cross_validate(problem, fold_N, fit)
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


@dataclass(frozen=True)
class _Problem:
    """One head: K tables (N, C) and the labels (N,)."""

    rule: Rule
    tables: Sequence[np.ndarray]
    labels: np.ndarray

    def rows(self, chosen: np.ndarray) -> "_Problem":
        return _Problem(self.rule, [table[chosen] for table in self.tables], self.labels[chosen])


Fit = Callable[[_Problem, np.ndarray], tuple[Head, str]]


def _cross_validate(problem: _Problem, fold_N: np.ndarray, fit: Fit) -> np.ndarray:
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
        table_NC = _cross_validate(problem, fold_N, _fitter(name, temperature, part))
        right[name] = int((table_NC.argmax(axis=1) == problem.labels).sum())
    return max(candidates, key=lambda name: right[name])


@dataclass(frozen=True)
class Place:
    """One line of a plan."""

    name: str
    """the member at this place"""
    alone: Figures
    """its own scores"""
    adds: Figure
    """points of action top-1 over the mean of those before it, on kitchens left out; of the first: its score"""
    agreed: int
    """folds whose other kitchens put the same member here"""

    @property
    def verdict(self) -> str:
        """`adds`, `costs`, or `noise` where the interval holds zero."""
        ends = self.adds.interval
        if ends is None:
            return "unknown"
        return "adds" if ends.low > 0 else "costs" if ends.high < 0 else "noise"


def plan(labelled: Labelled, names: Sequence[str], rule: Rule = "mean") -> tuple[list[Place], int]:
    """Rank members by what each adds to those before it.

    Args:
        labelled: K members on labelled segments of at least two kitchens, or two videos of one.
        names: of the members.
        rule: by which they are joined, all with the same weight.

    Returns:
        The members in order, and the number of folds.

    Raises:
        SubmissionError: all segments are of one video.
    """
    fold_N = folds_of(labelled)
    folds = int(fold_N.max()) + 1
    parts = {
        kind: [part_of(rule, table).astype(np.float32) for table in tables_of(labelled.members, kind)] for kind in HEADS
    }
    everyone = np.ones(len(fold_N), dtype=bool)
    order, _ = _forward(parts, labelled, everyone, everyone)
    orders = []
    change_KN = np.zeros((len(names), len(fold_N)))
    for fold in range(folds):
        inside = fold_N == fold
        own_order, right_KN = _forward(parts, labelled, ~inside, inside)
        orders.append(own_order)
        change_KN[:, inside] = np.diff(right_KN.astype(float), axis=0, prepend=0)
    samples = bootstrap_videos(labelled.videos)
    places = []
    for place, member in enumerate(order):
        ends = interval(samples.accuracy(change_KN[place])) if samples.videos > 1 else None
        places.append(
            Place(
                name=names[member],
                alone=figures(labelled, labelled.members[member]),
                adds=Figure(float(100 * change_KN[place].mean()), ends),
                agreed=sum(own_order[place] == member for own_order in orders),
            )
        )
    return places, folds


def _forward(
    parts: dict[str, list[np.ndarray]], labelled: Labelled, choosing_N: np.ndarray, judged_N: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """The order chosen on some segments, and whether the growing mean is right on others, (K, judged)."""
    order: list[int] = []
    left = list(range(len(labelled.members)))
    sums = {kind: np.zeros_like(parts[kind][0]) for kind in HEADS}
    right = []
    while left:
        tried = {
            member: np.logical_and.reduce(
                [(sums[kind] + parts[kind][member]).argmax(axis=1) == labelled.classes(kind) for kind in HEADS]
            )
            for member in left
        }
        chosen = max(left, key=lambda member: int(tried[member][choosing_N].sum()))
        order.append(chosen)
        left.remove(chosen)
        right.append(tried[chosen][judged_N])
        sums = {kind: sums[kind] + parts[kind][chosen] for kind in HEADS}
    return order, np.stack(right)
