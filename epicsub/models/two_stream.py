"""Streams with late fusion: any trunk a modality, a verb and a noun head in each (MMIR, arXiv 2311.14281, section 3.1).

Shapes: B clips, C channels (rgb 3, flow 2), T frames, H, W pixels; D features; V verbs, N nouns.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import ModelError
from epicsub.models.i3d import I3D
from epicsub.models.normalise import Normalise, symmetric
from epicsub.models.outputs import TwoHeadOutput

CHANNELS = {"rgb": 3, "flow": 2}
MakeTrunk = Callable[[int], tuple[nn.Module, Normalise]]
"""Channels of a modality -> a trunk, which has `num_features` and `features(clip) -> (B, D)`, and its normalisation."""


class Stream(nn.Module):
    """One modality: normalisation, trunk, dropout, two linear heads."""

    def __init__(self, make_trunk: MakeTrunk, channels: int, dropout: float, num_verbs: int, num_nouns: int) -> None:
        super().__init__()
        self.channels = channels
        made = make_trunk(channels)
        self.normalise: Normalise = made[1]
        self.trunk: Any = made[0]
        self.dropout = nn.Dropout(dropout)
        features = int(made[0].num_features)  # type: ignore[arg-type]
        self.verb_head = nn.Linear(features, num_verbs)
        self.noun_head = nn.Linear(features, num_nouns)

    def features(self, clip_BCTHW: Tensor) -> Tensor:
        """Pooled features (B, D) of clips in 0..255.

        Raises:
            ModelError: other than (B, C, T, H, W) with the stream's channels.
        """
        if clip_BCTHW.ndim != 5 or clip_BCTHW.shape[1] != self.channels:
            raise ModelError(f"a stream takes clips (B, {self.channels}, T, H, W), got {tuple(clip_BCTHW.shape)}")
        return self.trunk.features(self.normalise(clip_BCTHW).contiguous(memory_format=torch.channels_last_3d))

    def classify(self, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of pooled features, through one dropout."""
        dropped_BD = self.dropout(features_BD)
        return self.verb_head(dropped_BD), self.noun_head(dropped_BD)


class TwoStream(nn.Module):
    """One stream a modality; the streams' logits are summed (Eq 1), for each task apart.

    Args:
        modalities: names out of `CHANNELS`, at least one.
        make_trunk: called for each modality in turn.
        dropout: probability of dropping a pooled feature before the heads.
        num_verbs: verb classes, V.
        num_nouns: noun classes, N.

    Raises:
        ModelError: no modality, an unknown one, or one named twice.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        make_trunk: MakeTrunk,
        dropout: float = 0.0,
        num_verbs: int = NUM_VERBS,
        num_nouns: int = NUM_NOUNS,
    ) -> None:
        super().__init__()
        if not modalities or len(set(modalities)) != len(modalities) or set(modalities) - set(CHANNELS):
            raise ModelError(f"streams are made for one or more of {', '.join(CHANNELS)}; got {list(modalities)}")
        self.modalities = tuple(modalities)
        self.streams = nn.ModuleDict(
            {name: Stream(make_trunk, CHANNELS[name], dropout, num_verbs, num_nouns) for name in modalities}
        )
        self.feature_dims: dict[str, int] = {name: self.stream(name).trunk.num_features for name in modalities}

    def stream(self, modality: str) -> Stream:
        """The stream of one modality."""
        return cast(Stream, self.streams[modality])

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits, (B, V) and (B, N), of pooled features (B, D) a modality: the streams' sum (Eq 1)."""
        verb, noun = zip(*(self.stream(name).classify(features[name]) for name in self.modalities), strict=True)
        return torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: (B, C, T, H, W) a modality, uint8 or float, in 0..255; modalities beyond the model's are left alone.

        Raises:
            ModelError: a modality is missing, or a clip has another number of channels or too few frames.
        """
        missing = [name for name in self.modalities if name not in clips]
        if missing:
            raise ModelError(f"the model reads {', '.join(self.modalities)}; the batch lacks {', '.join(missing)}")
        features = {name: self.stream(name).features(clips[name]) for name in self.modalities}
        return TwoHeadOutput(*self.classify(features), features)


def two_stream_i3d(
    modalities: Sequence[str],
    width: float = 1.0,
    dropout: float = 0.5,
    num_verbs: int = NUM_VERBS,
    num_nouns: int = NUM_NOUNS,
) -> TwoStream:
    """The paper's network: one Inception I3D a modality.

    Args:
        modalities: names out of `CHANNELS`, at least one.
        width: share of the paper's channels in every layer; 1.0 for the published weights.
        dropout: probability of dropping a pooled feature before the heads.
        num_verbs: verb classes, V.
        num_nouns: noun classes, N.
    """

    def trunk(channels: int) -> tuple[nn.Module, Normalise]:
        return I3D(channels, width=width), symmetric(channels)

    return TwoStream(modalities, trunk, dropout, num_verbs, num_nouns)
