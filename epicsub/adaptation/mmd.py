"""Maximum mean discrepancy with many kernels, as a loss on the pooled features of each modality.

Long et al., "Learning Transferable Features with Deep Adaptation Networks", ICML 2015.

[S] MM-SADA's code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- The biased V-statistic: means over all pairs, an instance with itself included [S].
- `mm_sada` [S]: k(x, y) = sum over the widths g of exp(-|x-y|^2 / g), 12 widths 9.7 * 2^u, u from -8 in steps of
  sqrt 2, weights 1. They are for features of 1,024 entries; a squared distance grows with their number, and so do ours:
  times D / 1024 [D]. Where features lie far apart for all widths (above about 70 for the widest at 1,024) no gradient
  is left.
- `dan`: 5 widths, 2 s^2 with s^2 = 2^u times the batch's mean squared distance, u = -3..1, which follow the features'
  scale. The mean is taken as a constant. After thuml/Transfer-Learning-Library.
- Summed over modalities [S]. Weight: [S] has 0.2 beside a classification loss of weight 0.2, which is 1 beside 1.

Shapes: M, N instances of the two sets, D features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
)
from epicsub.recipe.adaptation import MMDAdaptation

MM_SADA_WIDTHS = tuple(9.7 * 2.0 ** (-8.0 + 2.0**0.5 * step) for step in range(12))  # [S]: 0.038 to 1826
MM_SADA_DIM = 1024  # of the features that they are for
DAN_POWERS = (-3, -2, -1, 0, 1)


def _squared_distances(x_MD: Tensor, y_ND: Tensor) -> Tensor:
    """|x - y|^2 of all pairs, (M, N); never below 0.

    In float64 where there is one: of an instance and itself the three terms cancel, and what float32 leaves of them is
    as large as the narrowest widths.
    """
    kind = x_MD.dtype
    if x_MD.device.type != "mps":
        x_MD, y_ND = x_MD.double(), y_ND.double()
    inner_MN = x_MD @ y_ND.T
    distances_MN = x_MD.square().sum(dim=1)[:, None] - 2 * inner_MN + y_ND.square().sum(dim=1)[None]
    return distances_MN.clamp_min(0.0).to(kind)


def mmd_squared(x_MD: Tensor, y_ND: Tensor, widths: Sequence[float | Tensor]) -> Tensor:
    """The biased estimate of MMD^2 under the sum of kernels exp(-|x-y|^2 / width); 0 for equal sets.

    Args:
        x_MD: one set.
        y_ND: the other set.
        widths: of the kernels.

    Returns:
        A scalar.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        distances = _squared_distances(a, b)
        return torch.stack([torch.exp(-distances / width).mean() for width in widths]).sum()

    return mean_kernel(x_MD, x_MD) + mean_kernel(y_ND, y_ND) - 2 * mean_kernel(x_MD, y_ND)


def mm_sada_widths(dim: int) -> list[float]:
    """Widths of [S] for features of another length.

    Args:
        dim: D.

    Returns:
        `MM_SADA_WIDTHS` times D / 1024.
    """
    return [width * dim / MM_SADA_DIM for width in MM_SADA_WIDTHS]


def dan_widths(x_MD: Tensor, y_ND: Tensor) -> list[Tensor]:
    """Widths that follow the mean squared distance of all different pairs of both sets, taken as a constant.

    Args:
        x_MD: one set.
        y_ND: the other set.

    Returns:
        Five scalars.
    """
    both = torch.cat([x_MD, y_ND]).detach()
    mean = _squared_distances(both, both).sum() / (len(both) * (len(both) - 1))
    return [2 * 2.0**power * mean for power in DAN_POWERS]


class MMD(AdaptationMethod):
    """Pulls the distributions of source and target features together, modality by modality."""

    settings: MMDAdaptation

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """MMD^2 of the features, summed over modalities."""
        source, target = batch.source.features, batch.target.features
        logs: dict[str, float | Tensor] = {}
        losses = []
        for modality in self.feature_dims:
            fs, ft = at_least_float32(source[modality]), at_least_float32(target[modality])
            widths = mm_sada_widths(fs.shape[1]) if self.settings.kernels == "mm_sada" else dan_widths(fs, ft)
            losses.append(mmd_squared(fs, ft, widths))
            logs[f"{modality}/mmd"] = losses[-1].detach()
        return AdaptationLosses(torch.stack(losses).sum(), None, logs, {})
