"""Which checkpoint is the best by a score, with the score's noise taken into account, and when to stop.

Two checkpoints are scored on the same segments, and most of their hits are the same ones. The noise of their
difference is therefore that of the paired difference, which is far smaller than that of either score:
    error = 100 * sd(hit_now - hit_best) / sqrt(S), over S segments.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation says of a model."""

    scores: dict[str, float]
    """Percent, by the organisers' names."""
    hits_S: Tensor | None = None  # noqa: N815
    """Of the score that chooses: whether each of the S segments it counts is a hit, bool, in the list's order."""


@dataclass(kw_only=True)
class Selection:
    """The best evaluation so far, kept in the checkpoint."""

    best: float = -math.inf
    """Its score, in percent."""
    hits_S: Tensor | None = None  # noqa: N815
    """Its hits."""
    waited: int = 0
    """Evaluations since."""

    def judge(self, score: float, hits_S: Tensor | None, margin: float) -> dict[str, float]:
        """Take in an evaluation; it is the best if it exceeds the best by more than `margin` standard errors.

        Returns:
            Figures to log: score, best (before), error in points, higher (1 or 0).
        """
        before, error = self.best, paired_error(hits_S, self.hits_S)
        higher = score - before > margin * error
        if higher:
            self.best, self.hits_S, self.waited = score, hits_S, 0
        else:
            self.waited += 1
        figures = {"score": score, "error": error, "higher": float(higher)}
        return figures if math.isinf(before) else figures | {"best": before}

    def tired(self, patience: int | None) -> bool:
        """Whether so many evaluations in a row were no better."""
        return patience is not None and self.waited >= patience


def paired_error(now_S: Tensor | None, best_S: Tensor | None) -> float:
    """Standard error of the difference of two scores on the same segments, in points; 0 where there is no pair."""
    if now_S is None or best_S is None or len(now_S) < 2:
        return 0.0
    difference_S = now_S.double() - best_S.double()
    return 100 * float(torch.std(difference_S)) / math.sqrt(len(difference_S))
