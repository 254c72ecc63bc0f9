"""Averaged weights: an exponential moving average (EMA), or the mean over the end of a run (SWA, arXiv 1803.05407).

The averages are torch's (torch.optim.swa_utils). Buffers, batch norm's running statistics among them, are those of
the last weights, unless they are recomputed for the averaged ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from epicsub.training.layers import Part, batch_norms, freeze


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
