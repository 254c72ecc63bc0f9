import math

import pytest
import torch
from torch import Tensor

from epicsub.adaptation.reversal import reversal_strength, reverse_gradient


def function(x: Tensor) -> Tensor:
    return (x.sin() * x.square()).sum()


def test_values_pass_unchanged() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(reverse_gradient(x, 0.7), x)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_gradient_is_minus_lam_times_finite_differences(lam: float) -> None:
    x = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    function(reverse_gradient(x, lam)).backward()
    h, values = 1e-5, x.detach()
    for i in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[i] = h
        slope = (function(values + shift) - function(values - shift)) / (2 * h)
        assert x.grad[i].item() == pytest.approx(-lam * slope.item(), abs=1e-8)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.46212), (0.5, 0.98661), (1.0, 0.99991)])
def test_strength_rises_as_published(progress: float, share: float) -> None:
    assert reversal_strength(progress, 1.0) == pytest.approx(share, abs=1e-5)
    assert reversal_strength(progress, 0.2) == pytest.approx(0.2 * share, abs=1e-5)
    assert reversal_strength(progress, 1.0) == pytest.approx(math.tanh(5 * progress))
