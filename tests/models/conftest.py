"""A small I3D and its clips."""

import pytest
import torch
from torch import Tensor, nn

from epicsub.models.i3d import I3D


@pytest.fixture(scope="module")
def small() -> I3D:
    """A narrow I3D whose running statistics are those of noise, so that its logits depend on the input."""
    torch.manual_seed(0)
    model = I3D(3, num_classes=10, width=0.25)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = 1.0
    with torch.no_grad():
        model(noise(8, 3, 16, 64))
    return model.eval()


def noise(B: int, C: int, T: int, H: int, seed: int = 1) -> Tensor:
    return torch.rand(B, C, T, H, H, generator=torch.Generator().manual_seed(seed)) * 2 - 1
