"""Two models on the same segments: is the difference a gain or noise?"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from epicsub.validation.bootstrap import Interval, VideoBootstrap, interval
from epicsub.validation.classwise import class_mean
from epicsub.validation.scores import Hits


@dataclass(frozen=True)
class Difference:
    """B's figure less A's, over the segments that both predicted."""

    name: str
    """of the figure, as in the scores"""
    first: float
    """A's, percent"""
    second: float
    """B's, percent"""
    interval: Interval | None
    """of the difference, by resampling videos; None for fewer than two videos"""
    p_bootstrap: float | None
    """two-sided: twice the share of samples in which the difference has not the sign that it has"""
    only_first: int | None = None
    """segments that A alone has right; None for a class mean"""
    only_second: int | None = None
    p_mcnemar: float | None = None
    """two-sided, exact; takes segments as independent, which those of one video are not"""

    @property
    def change(self) -> float:
        """Percentage points."""
        return self.second - self.first

    @property
    def verdict(self) -> str:
        """`gain`, `loss`, or `noise` where the interval holds zero; `unknown` without an interval."""
        if self.interval is None:
            return "unknown"
        if self.interval.low > 0:
            return "gain"
        return "loss" if self.interval.high < 0 else "noise"


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: heads and tails of a fair coin over the segments that one alone has right.

    McNemar, "Note on the sampling error of the difference between correlated proportions" (1947); the binomial is
    summed in whole numbers, so no p is rounded to zero before it is.
    """
    count = only_first + only_second
    if only_first == only_second:
        return 1.0
    term = total = 1  # comb(count, 0), and the sum so far
    for taken in range(1, min(only_first, only_second) + 1):
        term = term * (count - taken + 1) // taken
        total += term
    return min(1.0, 2 * total / 2**count)


def compare_hits(
    first: Hits, second: Hits, classes: Mapping[str, np.ndarray], samples: VideoBootstrap
) -> list[Difference]:
    """Top-1 and top-5, class-mean accuracy and mean top-5 recall of every task.

    Args:
        first: A's hits, over N segments.
        second: B's, over the same segments in the same order.
        classes: task -> class of each segment (N,).
        samples: of the same segments; both models are scored on the same samples.
    """
    found = []
    names = {1: "class_mean_{}_accuracy_at_1", 5: "mean_{}_recall_at_5"}
    for (task, k), a_N in first.items():
        b_N = second[task, k]
        only_first, only_second = int((a_N & ~b_N).sum()), int((b_N & ~a_N).sum())
        drawn = samples.accuracy(b_N) - samples.accuracy(a_N)
        found.append(
            Difference(
                f"all_{task}_accuracy_at_{k}",
                float(100 * a_N.mean()),
                float(100 * b_N.mean()),
                *_judged(drawn, samples.videos),
                only_first,
                only_second,
                mcnemar(only_first, only_second),
            )
        )
        of_class = classes[task]
        drawn = samples.class_mean(b_N, of_class) - samples.class_mean(a_N, of_class)
        means = (class_mean(a_N, of_class), class_mean(b_N, of_class))
        found.append(Difference(names[k].format(task), *means, *_judged(drawn, samples.videos)))
    return found


def _judged(drawn_S: np.ndarray, videos: int) -> tuple[Interval | None, float | None]:
    if videos < 2:
        return None, None
    kept = drawn_S[~np.isnan(drawn_S)]
    against = min(float(np.mean(kept <= 0)), float(np.mean(kept >= 0)))
    return interval(drawn_S), min(1.0, 2 * max(against, 1 / len(drawn_S)))
