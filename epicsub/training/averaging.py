"""Averaged weights: an exponential moving average (EMA), or the mean over the end of a run (SWA, arXiv 1803.05407).

The averages are torch's (torch.optim.swa_utils). Buffers, batch norm's running statistics among them, are those of
the last weights, unless they are made anew for the averaged ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

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
        """Count a model's weights in, after `steps` optimiser steps of the run."""
        if self.name == "swa" and (steps <= self.start or (steps - self.start - 1) % self.every):
            return
        self.averaged.update_parameters(model)
        self.count += 1

    @property
    def model(self) -> nn.Module | None:
        """The model with averaged weights; None before the first that counts."""
        return self.averaged.module if self.count else None

    def state_dict(self) -> dict[str, Tensor]:
        """All that `load_state_dict` needs to go on."""
        return self.averaged.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state_dict()`."""
        self.averaged.load_state_dict(dict(state))
        self.count = int(self.averaged.n_averaged)

    @torch.no_grad()
    def _move(self, average: Any, current: Any, counted: Tensor | int) -> None:
        """One EMA step for all weights at once; `counted` is on the device, and `count` spares asking it."""
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(average, current, 1 - decay)


@torch.no_grad()
def refresh_batch_norms(
    model: nn.Module, clips: Iterable[dict[str, Tensor]], parts: Sequence[Part] = (), step: int = 0
) -> None:
    """Make batch norms' running statistics anew: the plain mean over these batches, with the model's own weights.

    Args:
        model: nothing happens to one without batch norms, and `clips` are not read.
        clips: batches of training clips on the model's device.
        parts: of these, what is frozen at the step of the run keeps its statistics, and normalises by them.
        step: from 0.
    """
    was_training = model.training
    model.train()
    freeze(model, parts, step)
    norms = [module for module in batch_norms(model) if module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean
    if norms:
        for batch in clips:
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
