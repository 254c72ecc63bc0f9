"""Intervals by resampling whole videos.

Segments of one video share a kitchen, its objects and its light, so they are not independent: an interval that
resamples segments is too narrow. Here a sample draws as many videos as there are, with replacement, and takes all
segments of each as often as the video was drawn (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods and
their Application", 1997, section 3.8). With few videos even this is too narrow: the number is always said beside it.

Letters: S samples, N segments, C videos, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
