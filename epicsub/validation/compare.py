"""Two models on the same segments: is the difference a gain or noise?"""

from dataclasses import dataclass

import numpy as np

from epicsub.predictions import Predictions
from epicsub.validation.bootstrap import Interval, bootstrap_videos, interval
from epicsub.validation.figures import CLASS_MEANS, class_mean, task_classes
from epicsub.validation.report import Reference


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


def compare(first: Predictions, second: Predictions, reference: Reference) -> tuple[int, list[Difference]]:
    """Compare two models over the segments that both predicted.

    Args:
        first: A.
        second: B.
        reference: labels to score against.

    Returns:
        How many segments both predicted, and B less A: top-1, top-5, class-mean accuracy and mean top-5 recall of every
        task.

    Raises:
        ValidationError: predictions for segments outside the list.
    """
    both = first.narration_ids[np.isin(first.narration_ids, second.narration_ids)]
    if not len(both):
        return 0, []
    joined, hits = reference.hits(first.select(both))
    _, others = reference.hits(second.select(both))
    classes = task_classes(joined)
    samples = bootstrap_videos(joined["video_id"].to_numpy())
    found = []
    for (task, k), a_N in hits.items():
        b_N = others[task, k]
        only_first, only_second = int((a_N & ~b_N).sum()), int((b_N & ~a_N).sum())
        drawn = samples.accuracy(b_N) - samples.accuracy(a_N)
        found.append(
            Difference(
                f"all_{task}_accuracy_at_{k}",
                float(100 * a_N.mean()),
                float(100 * b_N.mean()),
                *_interval_and_p(drawn, samples.videos),
                only_first,
                only_second,
                mcnemar(only_first, only_second),
            )
        )
        class_N = classes[task]
        drawn = samples.class_mean(b_N, class_N) - samples.class_mean(a_N, class_N)
        means = (class_mean(a_N, class_N), class_mean(b_N, class_N))
        found.append(Difference(CLASS_MEANS[k].format(task), *means, *_interval_and_p(drawn, samples.videos)))
    return len(both), found


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact test whether two models differ on the same segments.

    McNemar, "Note on the sampling error of the difference between correlated proportions" (1947): heads and tails of a
    fair coin over the segments that one model alone has right.

    Args:
        only_first: segments that the first model alone has right.
        only_second: segments that the second model alone has right.

    Returns:
        Two-sided p.
    """
    if only_first == only_second:
        return 1.0
    from scipy.stats import binomtest  # takes half a second, which checking a submission need not wait for

    return float(binomtest(only_first, only_first + only_second).pvalue)


def _interval_and_p(drawn_S: np.ndarray, videos: int) -> tuple[Interval | None, float | None]:
    if videos < 2:
        return None, None
    kept = drawn_S[~np.isnan(drawn_S)]
    against = min(float(np.mean(kept <= 0)), float(np.mean(kept >= 0)))
    return interval(drawn_S), min(1.0, 2 * max(against, 1 / len(drawn_S)))
