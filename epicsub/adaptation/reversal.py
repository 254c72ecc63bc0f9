"""Gradient reversal (Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17, 2016)."""

import math
from typing import Any

import torch
from torch import Tensor

STEEPNESS = 10.0  # gamma of Ganin et al.


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lam: float) -> Tensor:
        ctx.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.lam * gradient, None


def reverse_gradient(x: Tensor, lam: float) -> Tensor:
    """The same values; the gradient that comes back is multiplied by -lam."""
    return _Reverse.apply(x, lam)


def reversal_strength(progress: float, lam_max: float) -> float:
    """lam_max * (2 / (1 + exp(-10 progress)) - 1): 0 at the start of a stage, near lam_max from its half on.

    Args:
        progress: share of the stage's steps done, 0 to 1.
        lam_max: what it tends to.
    """
    return lam_max * (2.0 / (1.0 + math.exp(-STEEPNESS * progress)) - 1.0)
