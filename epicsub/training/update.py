"""What every loop that steps an optimiser shares: the model with its optimiser, and one guarded update."""

from dataclasses import dataclass, field
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule, _FabricOptimizer
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from epicsub.recipe import Recipe
from epicsub.training.agents import step_unless
from epicsub.training.finite import FiniteWatch


@dataclass(kw_only=True)
class Stepped:
    """What an optimiser steps."""

    model: _FabricModule
    """Around the model, with the device's precision and several processes' gradients."""
    optimizer: _FabricOptimizer
    step: int = 0
    """Optimiser steps done, over all stages."""
    watch: FiniteWatch = field(default_factory=FiniteWatch)
    """Of losses and gradients."""
    initial: dict[str, Any] = field(default_factory=dict)
    """What the initial weights, a shared start and a teacher were pre-trained on."""


def set_rate(state: Stepped, learning_rate: float) -> None:
    """Set the learning rate of the next update, and drop the gradients of the last.

    Args:
        state: with the optimiser, whose groups may have factors of their own.
        learning_rate: of the step.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)
    state.optimizer.zero_grad(set_to_none=True)


def update_weights(fabric: Fabric, recipe: Recipe, state: Stepped, loss: Tensor) -> None:
    """Clip the gradient and step the optimiser, unless the loss or gradient of this or an earlier step is not finite.

    A fused optimiser leaves the step out by itself, and the host reads later why (`FiniteWatch`); else it waits here.
    With 16-mixed a gradient that is not finite is no error: the scaler leaves the step out and lowers its factor.

    Args:
        fabric: with the device.
        recipe: with `train.clip_grad` and `train.precision`.
        state: is changed.
        loss: whose gradient the parameters have.

    Raises:
        NotFiniteError: as said; the message names the step.
    """
    clip, scaled = recipe.train.clip_grad, recipe.train.precision == "16-mixed"
    groups = state.optimizer.param_groups
    parameters = [p for group in groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([p.grad for p in parameters if p.grad is not None and not scaled])
    missed = state.watch.note([loss, norm.to(loss.device)])
    fused = all(group.get("fused") for group in groups) and not scaled
    if not fused:
        state.watch.read(state.model.module)
    if clip is not None and scaled:
        fabric.clip_gradients(state.model, state.optimizer, max_norm=clip, error_if_nonfinite=False)
    elif clip is not None:
        clip_grads_with_norm_(parameters, clip, norm)
    if fused:
        step_unless(state.optimizer.optimizer, missed, state.optimizer.step)
    else:
        state.optimizer.step()
