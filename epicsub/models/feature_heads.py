"""Heads on features that were extracted before: per modality a bottleneck, verb and noun heads; logits summed (Eq 1).

Adaptation aligns the bottleneck's output, since the features themselves are fixed. Where a clip has features at several
times, the bottleneck sees each, and their mean goes on.

Shapes: B clips, T times, D entries of a feature, H units of the bottleneck (D without one).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.streams import StreamHeads, StreamsModel


class Bottleneck(nn.Module):
    """Linear, optional batch norm, ReLU: (B, T, D) -> (B, T, H). Batch norm counts every time of every clip."""

    def __init__(self, dim: int, units: int, batch_norm: bool, bn_momentum: float) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, units, bias=not batch_norm)  # batch norm has a shift of its own
        self.norm = nn.BatchNorm1d(units, momentum=bn_momentum) if batch_norm else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Reduce features.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, T, H).
        """
        y_BTH: Tensor = self.linear(x_BTD)
        if self.norm is not None:
            y_BTH = self.norm(y_BTH.flatten(0, 1)).unflatten(0, y_BTH.shape[:2])
        return torch.relu(y_BTH)


class FeatureStream(StreamHeads):
    """One modality: bottleneck, mean over time, dropout, two linear heads."""

    def __init__(
        self,
        dim: int,
        bottleneck: int | None,
        batch_norm: bool,
        dropout: float,
        bn_momentum: float,
        classes: Classes,
    ) -> None:
        super().__init__()
        self.bottleneck = Bottleneck(dim, bottleneck, batch_norm, bn_momentum) if bottleneck else nn.Identity()
        self.add_heads(bottleneck or dim, dropout, classes)

    def pool(self, x: Tensor) -> Tensor:
        """The mean over time of what the bottleneck makes of features.

        Args:
            x: (B, D) or (B, T, D).

        Returns:
            (B, H).
        """
        pooled_BH: Tensor = self.bottleneck(x.unsqueeze(1) if x.ndim == 2 else x).mean(dim=1)
        return pooled_BH


class FeatureHeads(StreamsModel[FeatureStream]):
    """Heads on features, one bottleneck per modality.

    Args:
        dims: D of each modality, in the order of the streams.
        bottleneck: H, or None for heads on the features as they are.
        batch_norm: in the bottleneck, before its ReLU.
        dropout: probability of dropping a unit before the heads.
        bn_momentum: share of a batch in the running statistics.
        classes: what the model classifies.

    Raises:
        ModelError: no modality.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        bottleneck: int | None = None,
        batch_norm: bool = False,
        dropout: float = 0.5,
        bn_momentum: float = 0.1,
        classes: Classes = ALL_CLASSES,
    ) -> None:
        if not dims:
            raise ModelError("feature_heads needs the features of one modality at least")
        streams = {
            name: FeatureStream(dim, bottleneck, batch_norm, dropout, bn_momentum, classes)
            for name, dim in dims.items()
        }
        super().__init__(streams, {name: bottleneck or dim for name, dim in dims.items()}, classes)
        self.dims = dict(dims)

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], None]:
        """Run the bottlenecks.

        Args:
            clips: features (B, D) or (B, T, D) per modality, float.

        Returns:
            (B, H) per modality, and no levels.

        Raises:
            ModelError: features have another length or form.
        """
        problems = [
            f"{name} features are {tuple(clips[name].shape)}, expected (B, {dim}) or (B, T, {dim})"
            for name, dim in self.dims.items()
            if clips[name].ndim not in (2, 3) or clips[name].shape[-1] != dim
        ]
        if problems:
            raise ModelError("\n".join(problems))
        return {name: self.stream(name).pool(clips[name].float()) for name in self.modalities}, None
