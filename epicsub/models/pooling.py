"""I3D's pools with TensorFlow's SAME padding, and forms of them whose gradient is the same in every run on CUDA.

Shapes: B clips, C channels, T frames, H, W pixels.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Triple = tuple[int, int, int]  # T, H, W


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Count the zeros before and after one dimension under TensorFlow's SAME rule; the odd one goes to the end.

    Args:
        size: of the dimension.
        kernel: of the convolution or pool.
        stride: of it.

    Returns:
        Before and after.
    """
    remainder = size % stride
    total = max(kernel - (remainder or stride), 0)
    return total // 2, total - total // 2


def same_paddings(x_BCTHW: Tensor, kernel: Triple, stride: Triple) -> list[tuple[int, int]]:
    """Count the zeros before and after T, H and W that give ceil(size / stride) outputs of a convolution or pool.

    Args:
        x_BCTHW: its input.
        kernel: of the convolution or pool.
        stride: of it.

    Returns:
        Before and after, of each dimension.
    """
    return [same_padding(*of) for of in zip(x_BCTHW.shape[2:], kernel, stride, strict=True)]


class SameMaxPool3d(nn.Module):
    """Max pool with SAME padding, of a ReLU's output: there the zeros and TensorFlow's -inf give the same.

    So the pool's own -inf serve, and nothing is copied into a padded clip: the same number before and after, and where
    SAME puts one more after, `ceil_mode` reads the window that hangs over by one (stride 2, or no odd padding).
    """

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Pool with SAME padding.

        Args:
            x_BCTHW: activations.

        Returns:
            (B, C, T', H', W').
        """
        paddings = same_paddings(x_BCTHW, self.kernel, self.stride)
        if x_BCTHW.is_cuda and torch.are_deterministic_algorithms_enabled():
            return max_of_slices(x_BCTHW, self.kernel, self.stride, paddings)
        return F.max_pool3d(x_BCTHW, self.kernel, self.stride, [before for before, _ in paddings], ceil_mode=True)


def max_of_slices(x_BCTHW: Tensor, kernel: Triple, stride: Triple, paddings: Sequence[tuple[int, int]]) -> Tensor:
    """Max pool of a ReLU's output as the largest of shifted slices, one dimension after the other.

    CUDA's own max pool in 3D adds gradients in no fixed order. Here each has its place; where several of a window are
    the largest they share the gradient, which for zeros the ReLU before drops anyway.

    Args:
        x_BCTHW: not below 0.
        kernel: of the pool.
        stride: of the pool.
        paddings: zeros before and after T, H and W.

    Returns:
        (B, C, T', H', W').
    """
    for place, (size, step, (before, after)) in enumerate(zip(kernel, stride, paddings, strict=True), 2):
        edges = [0, 0] * (x_BCTHW.ndim - 1 - place) + [before, after]
        padded = F.pad(x_BCTHW, edges)
        count = (padded.shape[place] - size) // step + 1
        slices = [padded.narrow(place, first, (count - 1) * step + 1) for first in range(size)]
        index = (slice(None),) * place + (slice(None, None, step),)
        x_BCTHW = functools.reduce(torch.maximum, [one[index] for one in slices])
    return x_BCTHW


def mean_of_pairs(x_BCTHW: Tensor) -> Tensor:
    """Average over the whole picture and two frames next to each other: (2, 7, 7) VALID at 224 pixels.

    Args:
        x_BCTHW: activations.

    Returns:
        (B, C, T - 1, 1, 1).
    """
    if x_BCTHW.is_cuda and torch.are_deterministic_algorithms_enabled():
        frames_BCT11 = x_BCTHW.mean(dim=(3, 4), keepdim=True)
        return (frames_BCT11[:, :, :-1] + frames_BCT11[:, :, 1:]) / 2
    return F.avg_pool3d(x_BCTHW, (2, *x_BCTHW.shape[3:]), stride=1)
