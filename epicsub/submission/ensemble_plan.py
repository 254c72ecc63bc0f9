"""Which members are worth their cost: what each adds to those before it, on kitchens that did not choose it.

Members are taken one by one, each time the one with which the equal mean gets most actions right (forward selection
without replacement). The order that is shown is that of all labelled segments. What the member at a place adds is
measured apart from it: for each fold of kitchens the order is chosen on the others, and the fold says what its own
member at that place added; so a lucky member cannot show its luck as a gain.

Letters: K members, N segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epicsub.submission.ensemble_learn import Figure, Figures, Labelled, figures, folds_of
from epicsub.submission.ensemble_rules import HEADS, Rule, part_of, tables_of
from epicsub.validation.bootstrap import bootstrap_videos, interval


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
        """In a word: adds, costs, or noise where the interval holds zero."""
        ends = self.adds.interval
        if ends is None:
            return "unknown"
        return "adds" if ends.low > 0 else "costs" if ends.high < 0 else "noise"


def plan(labelled: Labelled, names: Sequence[str], rule: Rule = "mean") -> tuple[list[Place], int]:
    """The members in the order in which they help, and the number of folds.

    Args:
        labelled: K members on labelled segments of at least two kitchens, or two videos of one.
        names: of the members.
        rule: by which they are joined, all with the same weight.

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
