"""Pooling of boxes by matrix products, against torchvision and a map whose values are known."""

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from epicsub.models.maps import STRIDE
from epicsub.models.regions import pool_regions


def boxes(B: int, T: int, S: int, generator: torch.Generator) -> Tensor:
    """Corners in and over the border, some of them narrow."""
    first, second = torch.rand(2, B, T, S, 2, generator=generator) * 1.2 - 0.1
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)


@pytest.mark.parametrize("samples", [2, 0])
@pytest.mark.parametrize(("picture", "bins"), [((224, 224), 7), ((72, 100), 3), ((256, 256), 8)])
def test_equals_roi_align_in_values_and_gradients(picture: tuple[int, int], bins: int, samples: int) -> None:
    generator = torch.Generator().manual_seed(bins)
    B, C, T, S = 2, 5, 3, 6
    sides = [-(-side // STRIDE) for side in picture]
    map_BCTHW = torch.randn(B, C, T, *sides, generator=generator, dtype=torch.float32)
    corners_BTS4 = boxes(B, T, S, generator)
    ours, theirs = map_BCTHW.clone().requires_grad_(), map_BCTHW.clone().requires_grad_()
    got = pool_regions(ours, corners_BTS4, picture, bins, samples)
    frames = theirs.transpose(1, 2).flatten(0, 1)
    number = torch.arange(B * T).repeat_interleave(S)[:, None]
    pixels = corners_BTS4.flatten(0, 2) * torch.tensor([picture[1], picture[0]] * 2)
    expected = roi_align(
        frames, torch.cat([number, pixels], 1), bins, 1 / STRIDE, samples or -1, aligned=True
    ).unflatten(0, (B, T, S))
    assert torch.allclose(got, expected, atol=1e-5, rtol=0)
    weight = torch.randn(got.shape, generator=generator)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-5, rtol=0)


def test_a_ramp_is_read_at_the_middles_of_the_bins() -> None:
    """The map's values are its cells' middles in pixels, so a bin inside it has its own middle."""
    side, bins = 224, 7
    middles = (torch.arange(side // STRIDE) + 0.5) * STRIDE
    ramp = middles.expand(1, 1, 1, len(middles), -1)
    corners = torch.tensor([32.0, 48.0, 200.0, 120.0]).view(1, 1, 1, 4) / side
    got = pool_regions(ramp, corners, (side, side), bins)[0, 0, 0, 0]
    expected = 32 + (torch.arange(bins) + 0.5) * (200 - 32) / bins
    torch.testing.assert_close(got, expected.expand(bins, -1), atol=1e-3, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gradient_is_the_same_twice_on_cuda() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = boxes(4, 4, 6, generator).cuda()
    map_BCTHW = torch.randn(4, 64, 4, 14, 14, generator=generator).cuda()
    grads = []
    for _ in range(2):
        leaf = map_BCTHW.clone().requires_grad_()
        pool_regions(leaf, corners, (224, 224), 7).square().sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)
