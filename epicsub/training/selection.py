"""Which weights of a run are kept: averaged ones, the best by a score, the mean of its last evaluations; when to stop.

Averages are an exponential moving average (EMA), or the mean over the end of a run (SWA, arXiv 1803.05407), of torch
(torch.optim.swa_utils). Buffers, batch norm's running statistics among them, are those of the last weights, unless they
are recomputed for the averaged ones.

Two checkpoints are scored on the same segments, and most of their hits are the same ones. The noise of their
difference is therefore that of the paired difference, which is far smaller than that of either score:
    error = 100 * sd(hit_now - hit_best) / sqrt(S), over S segments.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from epicsub.training.layers import Part, batch_norms, freeze


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Scores of a model."""

    scores: dict[str, float]
    """Percent, by the organisers' names."""
    hits_S: Tensor | None = None  # noqa: N815
    """Of the score that selects: True for each of the S segments it counts that is a hit, bool, in the list's order."""


@dataclass(kw_only=True)
class Selection:
    """The best evaluation so far, kept in the checkpoint."""

    best: float = -math.inf
    """Its score, in percent."""
    hits_S: Tensor | None = None  # noqa: N815
    """Its hits."""
    waited: int = 0
    """Evaluations since."""

    def update(self, score: float, hits_S: Tensor | None, margin: float) -> dict[str, float]:
        """Compare an evaluation with the best one so far, and keep it if it is better.

        Args:
            score: percent.
            hits_S: its hits, (S,) bool; None counts no noise.
            margin: standard errors by which it must exceed the best.

        Returns:
            Metrics to log: score, best (before), error in points, higher (1 or 0).
        """
        before, error = self.best, paired_error(hits_S, self.hits_S)
        higher = score - before > margin * error
        if higher:
            self.best, self.hits_S, self.waited = score, hits_S, 0
        else:
            self.waited += 1
        metrics = {"score": score, "error": error, "higher": float(higher)}
        return metrics if math.isinf(before) else metrics | {"best": before}

    def should_stop(self, patience: int | None) -> bool:
        """Decide whether to stop early.

        Args:
            patience: evaluations in a row without a better one; None never stops.

        Returns:
            True after so many.
        """
        return patience is not None and self.waited >= patience


def paired_error(now_S: Tensor | None, best_S: Tensor | None) -> float:
    """Compute the standard error of the difference of two scores on the same segments.

    Args:
        now_S: hits of one evaluation, (S,) bool.
        best_S: hits of the other.

    Returns:
        Points; 0 where there is no pair.
    """
    if now_S is None or best_S is None or len(now_S) < 2:
        return 0.0
    difference_S = now_S.double() - best_S.double()
    return 100 * float(torch.std(difference_S)) / math.sqrt(len(difference_S))


@dataclass(kw_only=True)
class FinalMean:
    """Mean score of a run's last evaluations, as MMIR and MM-SADA report.

    MMIR section 4.2: the mean target accuracy over the last 9, which MM-SADA's script makes 50 steps apart. It averages
    the noise within a run; it is no substitute for seeds.
    """

    count: int | None
    """Evaluations in the mean; None for no mean."""
    every: int
    """Steps between two of them; the last one is the run's last step."""
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    """Scores in percent by step. A checkpoint keeps them."""

    def includes(self, step: int, total: int) -> bool:
        """Decide whether the evaluation after a step is one of them.

        Args:
            step: of the run, from 1.
            total: steps of the run.

        Returns:
            True if it is.
        """
        left = total - step
        return self.count is not None and left % self.every == 0 and left // self.every < self.count

    def add(self, step: int, total: int, scores: dict[str, float]) -> None:
        """Keep the scores of an evaluation, if it is one of them.

        Args:
            step: of the run, from 1.
            total: steps of the run.
            scores: percent, by name.
        """
        if self.includes(step, total):
            self.scores[step] = dict(scores)

    def mean(self) -> dict[str, float]:
        """Average each score.

        Returns:
            Percent, by name; empty until all evaluations are made.
        """
        if self.count is None or len(self.scores) < self.count:
            return {}
        first = next(iter(self.scores.values()))
        return {name: sum(scores[name] for scores in self.scores.values()) / self.count for name in first}

    def summary(self, protocol: str) -> dict[str, Any]:
        """Summarise them for the checkpoint of a finished run.

        Args:
            protocol: that scored.

        Returns:
            Protocol, steps and mean scores; empty where there is no mean.
        """
        mean = self.mean()
        return {"protocol": protocol, "steps": sorted(self.scores), "scores": mean} if mean else {}


class WeightAverage:
    """The average beside a model.

    Args:
        model: whose weights are averaged; it is copied.
        name: ema or swa.
        decay: ema: share of the old average at a step; less in the first steps, (1 + n) / (10 + n) after n of them,
            or the average would be the random weights of the start for 1 / (1 - decay) steps.
        start: swa: steps before the first that counts.
        every: swa: steps between two that count.
    """

    def __init__(
        self, model: nn.Module, name: Literal["ema", "swa"], decay: float = 0.999, start: int = 0, every: int = 1
    ) -> None:
        self.name, self.decay, self.start, self.every = name, decay, start, every
        self.averaged = AveragedModel(model, multi_avg_fn=self._move if name == "ema" else None)
        self.averaged.requires_grad_(False)
        self.count = 0

    def update(self, model: nn.Module, steps: int) -> None:
        """Include a model's weights in the average.

        Args:
            model: whose weights.
            steps: optimiser steps of the run so far.
        """
        if self.name == "swa" and (steps <= self.start or (steps - self.start - 1) % self.every):
            return
        self.averaged.update_parameters(model)
        self.count += 1

    @property
    def model(self) -> nn.Module | None:
        """The model with averaged weights; None before the first that counts."""
        return self.averaged.module if self.count else None

    def state_dict(self) -> dict[str, Tensor]:
        """Give all that `load_state_dict` needs.

        Returns:
            Tensors by name.
        """
        return self.averaged.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the average.

        Args:
            state: from `state_dict`.
        """
        self.averaged.load_state_dict(dict(state))
        self.count = int(self.averaged.n_averaged)

    @torch.no_grad()
    def _move(self, average: Any, current: Any, counted: Tensor | int) -> None:
        """One EMA step for all weights at once; `counted` is on the device, and `count` spares asking it."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(average, current, 1 - decay)


def refresh_batch_norms(
    model: nn.Module, clips: Iterable[dict[str, Tensor]], parts: Sequence[Part] = (), step: int = 0
) -> None:
    """Recompute batch norms' running statistics: the plain mean over these batches, with the model's own weights.

    Args:
        model: of one without batch norms that train, `clips` are not read.
        clips: batches of training clips on the model's device.
        parts: of these, what is frozen at the step of the run keeps its statistics, and normalises by them.
        step: from 0.
    """
    was_training = model.training
    update_bn(clips, _KeepFrozen(model, parts, step).train())
    model.train(was_training)


class _KeepFrozen(nn.Module):
    """A model for torch's `update_bn`, which sees only the batch norms that are not frozen."""

    def __init__(self, model: nn.Module, parts: Sequence[Part], step: int) -> None:
        super().__init__()
        self.model, self.parts, self.step = model, parts, step

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        freeze(self.model, self.parts, self.step)
        return self

    def modules(self, remove_duplicate: bool = True) -> Iterator[nn.Module]:
        return (norm for norm in batch_norms(self.model) if norm.training)

    def forward(self, clips: dict[str, Tensor]) -> Any:
        return self.model(clips)
