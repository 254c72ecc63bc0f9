"""Intervals by resampling whole videos, and differences between two models: a gain or noise?

Segments of one video share a kitchen, its objects and its light, so they are not independent: an interval that
resamples segments is too narrow. Here a sample draws as many videos as there are, with replacement, and takes all
segments of each as often as the video was drawn (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and
their Application", 1997, section 3.8). With few videos even this is too narrow: the number is always said beside it.

Letters: S samples, N segments, C videos, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epicsub.predictions import Predictions
from epicsub.validation.figures import CLASS_MEANS, class_mean, task_classes
from epicsub.validation.report import Reference

SAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """The middle `LEVEL` of the samples, in the figure's own unit."""

    low: float
    high: float


@dataclass(frozen=True)
class VideoBootstrap:
    """How often each sample draws each video."""

    video: np.ndarray
    """(N,) int, the number of each segment's video"""
    weight: np.ndarray
    """(S, C), how often each sample holds each video"""

    @property
    def videos(self) -> int:
        """How many videos are drawn from; an interval needs two."""
        return int(self.weight.shape[1])

    def accuracy(self, hit_N: np.ndarray, rows_N: np.ndarray | None = None) -> np.ndarray:
        """Measure the percent of hits in each sample.

        Args:
            hit_N: (N,) hits, or differences of hits.
            rows_N: (N,) bool, the segments that count. Default: all.

        Returns:
            (S,) percent; NaN where a sample has no segment that counts.
        """
        counted_N = np.ones(len(hit_N)) if rows_N is None else rows_N.astype(float)
        hits_C = np.bincount(self.video, hit_N * counted_N, self.videos)
        counts_C = np.bincount(self.video, counted_N, self.videos)
        return _percent(self.weight @ hits_C, self.weight @ counts_C)

    def class_mean(self, hit_N: np.ndarray, class_N: np.ndarray) -> np.ndarray:
        """Mean over classes of the percent of hits in each sample (S,).

        A class that a sample does not hold keeps its share over all segments. Left out, it would pull every sample to
        the frequent and better known classes, and away from the figure itself. So a class that one video alone has
        adds nothing to an interval's width.

        Args:
            hit_N: (N,) bool.
            class_N: (N,) class of each segment.

        Returns:
            (S,) percent.
        """
        _, code_N = np.unique(class_N, return_inverse=True)
        classes = int(code_N.max()) + 1
        flat = self.video * classes + code_N
        hits_CK, counts_CK = (
            np.bincount(flat, weights, self.videos * classes).reshape(self.videos, classes)
            for weights in (hit_N.astype(float), np.ones(len(hit_N)))
        )
        own_K = _percent(hits_CK.sum(axis=0), counts_CK.sum(axis=0))
        means = []
        # 250 samples at a time: a table of all samples by 1,352 actions would take 20 MB, thrice.
        for part in np.array_split(self.weight, max(1, len(self.weight) // 250)):
            share = _percent(part @ hits_CK, part @ counts_CK)
            means.append(np.where(np.isnan(share), own_K, share).mean(axis=1))
        return np.concatenate(means)


def bootstrap_videos(videos: Sequence[str] | np.ndarray, samples: int = SAMPLES, seed: int = 0) -> VideoBootstrap:
    """Draw samples of videos; the same videos and seed give the same samples.

    Args:
        videos: (N,) video of each segment.
        samples: how many, S.
        seed: of the draw.

    Returns:
        The samples.
    """
    names, video_N = np.unique(np.asarray(videos, dtype=str), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), samples)
    return VideoBootstrap(video_N, drawn.astype(float))


def interval(samples_S: np.ndarray) -> Interval | None:
    """Take the middle `LEVEL` of the samples that are not NaN.

    Args:
        samples_S: (S,) a figure in each sample.

    Returns:
        The interval; None where fewer than half of the samples are figures.
    """
    kept = samples_S[~np.isnan(samples_S)]
    if len(kept) < len(samples_S) / 2:
        return None
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def _percent(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * hits / counts)


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
