"""Pixels to what a network was trained on. The constants are buffers, so they travel with the weights.

Shapes: B clips or frames, C channels, then any of T, H, W.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BYTE = 255.0
HALF = 127.5  # x / 127.5 - 1 takes 0..255 to -1..1


class Normalise(nn.Module):
    """(x - mean) / std a channel, for x in 0..255 (uint8, or float of the same range).

    Args:
        mean: one number a channel, in 0..255.
        std: one number a channel, in 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, x_BC: Tensor) -> Tensor:
        shape = (-1,) + (1,) * (x_BC.ndim - 2)
        return (x_BC.to(self.mean.dtype) - self.mean.view(shape)) / self.std.view(shape)


def symmetric(channels: int) -> Normalise:
    """0..255 to -1..1, the input range of the Kinetics I3D (kinetics-i3d README), for RGB and for flow."""
    return Normalise([HALF] * channels, [HALF] * channels)


def from_unit_range(mean: Sequence[float], std: Sequence[float]) -> Normalise:
    """Mean and standard deviation stated for pixels in 0..1, as timm's `pretrained_cfg` does."""
    return Normalise([BYTE * value for value in mean], [BYTE * value for value in std])
