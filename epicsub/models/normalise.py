"""From pixels to what a network expects."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

BYTE = 255.0


class Normalise(nn.Module):
    """(x - mean) / std per channel, for x in 0..255. The constants are buffers, so they travel with the weights.

    Args:
        mean: per channel, in 0..255.
        std: per channel, in 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @classmethod
    def of_rgb(cls, mean: Sequence[float], std: Sequence[float], channels: int) -> "Normalise":
        """From constants of RGB pixels in 0..1, as timm's `pretrained_cfg` has them.

        Args:
            mean: of the three channels.
            std: of the three channels.
            channels: C; for other than three, each gets the mean of the constants.

        Returns:
            The module.
        """
        same = channels == len(mean)
        return cls(*([BYTE * v for v in (c if same else [sum(c) / len(c)] * channels)] for c in (mean, std)))

    def forward(self, x_BC: Tensor) -> Tensor:
        """Subtract the mean, divide by the standard deviation.

        Args:
            x_BC: pixels or flow, 0 to 255, (B, C, ...).

        Returns:
            The same shape, floating point.
        """
        shape = (-1,) + (1,) * (x_BC.ndim - 2)
        x_BC = x_BC.to(self.mean.dtype, copy=True)  # the one copy of the clip in floating point
        return x_BC.sub_(self.mean.view(shape)).div_(self.std.view(shape))
