"""Features made before, a bottleneck, verb and noun heads: every modality apart, logits summed (MMIR Eq 1).

What adaptation aligns is the bottleneck's output, since the features themselves are fixed. Where a clip has features at
several times, the bottleneck sees each, and their mean goes on.

Shapes: B clips, T times, D entries of a feature, H units of the bottleneck (D without one); V verbs, N nouns.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import ModelError
from epicsub.models.outputs import TwoHeadOutput


class Bottleneck(nn.Module):
    """Linear, batch norm if asked for, ReLU: (B, T, D) -> (B, T, H). Batch norm counts every time of every clip."""

    def __init__(self, dim: int, units: int, batch_norm: bool, bn_momentum: float) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, units, bias=not batch_norm)  # batch norm has a shift of its own
        self.norm = nn.BatchNorm1d(units, momentum=bn_momentum) if batch_norm else None

    def forward(self, x_BTD: Tensor) -> Tensor:
        y_BTH = self.linear(x_BTD)
        if self.norm is not None:
            y_BTH = self.norm(y_BTH.flatten(0, 1)).unflatten(0, y_BTH.shape[:2])
        return torch.relu(y_BTH)


class FeatureStream(nn.Module):
    """One modality: bottleneck, mean over time, dropout, two linear heads."""

    def __init__(
        self,
        dim: int,
        bottleneck: int | None,
        batch_norm: bool,
        dropout: float,
        bn_momentum: float,
        num_verbs: int,
        num_nouns: int,
    ) -> None:
        super().__init__()
        units = bottleneck or dim
        self.bottleneck = Bottleneck(dim, bottleneck, batch_norm, bn_momentum) if bottleneck else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.verb_head = nn.Linear(units, num_verbs)
        self.noun_head = nn.Linear(units, num_nouns)

    def pool(self, x: Tensor) -> Tensor:
        """Features (B, D) or (B, T, D) through the bottleneck, the mean over time: (B, H)."""
        return self.bottleneck(x.unsqueeze(1) if x.ndim == 2 else x).mean(dim=1)

    def classify(self, pooled_BH: Tensor) -> tuple[Tensor, Tensor]:
        """Verb and noun logits, (B, V) and (B, N)."""
        dropped_BH = self.dropout(pooled_BH)
        return self.verb_head(dropped_BH), self.noun_head(dropped_BH)


class FeatureHeads(nn.Module):
    """Heads on features, one bottleneck a modality.

    Args:
        dims: D of each modality, in the order of the streams.
        bottleneck: H, or None for heads on the features as they are.
        batch_norm: in the bottleneck, before its ReLU.
        dropout: probability of dropping a unit before the heads.
        bn_momentum: share of a batch in the running statistics.
        num_verbs: verb classes, V.
        num_nouns: noun classes, N.

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
        num_verbs: int = NUM_VERBS,
        num_nouns: int = NUM_NOUNS,
    ) -> None:
        super().__init__()
        if not dims:
            raise ModelError("feature_heads needs the features of one modality at least")
        self.modalities, self.dims = tuple(dims), dict(dims)
        self.streams = nn.ModuleDict(
            {
                name: FeatureStream(dim, bottleneck, batch_norm, dropout, bn_momentum, num_verbs, num_nouns)
                for name, dim in dims.items()
            }
        )
        self.feature_dims: dict[str, int] = {name: bottleneck or dim for name, dim in dims.items()}

    def stream(self, modality: str) -> FeatureStream:
        """The stream of one modality."""
        stream = self.streams[modality]
        assert isinstance(stream, FeatureStream)
        return stream

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits, (B, V) and (B, N), of pooled features (B, H) a modality: the streams' sum (Eq 1)."""
        verb, noun = zip(*(self.stream(name).classify(features[name]) for name in self.modalities), strict=True)
        return torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: features (B, D) or (B, T, D) a modality, float; modalities beyond the model's are left alone.

        Raises:
            ModelError: a modality is missing, or its features have another length or form.
        """
        self._check(clips)
        pooled = {name: self.stream(name).pool(clips[name].float()) for name in self.modalities}
        return TwoHeadOutput(*self.classify(pooled), pooled)

    def _check(self, clips: Mapping[str, Tensor]) -> None:
        problems = [f"the batch lacks {name} features" for name in self.dims if name not in clips]
        problems += [
            f"{name} features are {tuple(clips[name].shape)}, expected (B, {dim}) or (B, T, {dim})"
            for name, dim in self.dims.items()
            if name in clips and (clips[name].ndim not in (2, 3) or clips[name].shape[-1] != dim)
        ]
        if problems:
            raise ModelError("\n".join(problems))
