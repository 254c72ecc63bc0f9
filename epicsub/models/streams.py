"""Late fusion: one stream per modality with a verb and a noun head; the streams' logits are summed (MMIR Eq 1).

MMIR: arXiv 2311.14281, section 3.1. A stream of video clips is a trunk; models on features have their own.

Shapes: B clips, C channels, T frames, H, W pixels; D features of a modality, V verbs, N nouns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import ALL_CLASSES, Classes, TwoHeadOutput

BYTE = 255.0


class StreamHeads(nn.Module):
    """The end of one modality's stream: dropout and two linear heads. A subclass calls `add_heads` last."""

    def add_heads(self, dim: int, dropout: float, classes: Classes) -> None:
        """Create the heads.

        Args:
            dim: D.
            dropout: probability of dropping a feature before them.
            classes: what they classify.
        """
        self.dropout = nn.Dropout(dropout)
        self.verb_head, self.noun_head = classes.verb_head(dim), classes.noun_head(dim)

    def classify(self, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of pooled features, through one dropout.

        Args:
            features_BD: pooled features.

        Returns:
            (B, V) and (B, N).
        """
        dropped_BD = self.dropout(features_BD)
        return self.verb_head(dropped_BD), self.noun_head(dropped_BD)


S = TypeVar("S", bound=StreamHeads)


class StreamsModel(nn.Module, Generic[S]):
    """One stream per modality; the streams' logits are summed (MMIR Eq 1), separately for verbs and nouns.

    A subclass writes `pool`.

    Args:
        streams: by modality, in order.
        feature_dims: D of each modality.
        classes: what the model classifies.
    """

    def __init__(self, streams: Mapping[str, S], feature_dims: Mapping[str, int], classes: Classes) -> None:
        super().__init__()
        self.modalities = tuple(streams)
        self.streams = nn.ModuleDict(streams)
        self.feature_dims: dict[str, int] = dict(feature_dims)
        self.action_head = classes.action_head(feature_dims)

    def stream(self, modality: str) -> S:
        """The stream of one modality.

        Args:
            modality: one of `modalities`.

        Returns:
            The module.
        """
        return cast(S, self.streams[modality])

    def classify(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of pooled features: the streams' sum.

        Args:
            features: (B, D) per modality.

        Returns:
            (B, V) and (B, N).
        """
        verb, noun = zip(*(self.stream(name).classify(features[name]) for name in self.modalities), strict=True)
        return torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0)

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
        """Run the streams up to the pooled features.

        Args:
            clips: a batch, every modality of the model among them.

        Returns:
            (B, D) per modality, and the levels of `TwoHeadOutput`.
        """
        raise NotImplementedError

    def forward(self, clips: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: of each modality, as `pool` takes them; modalities beyond the model's are ignored.

        Returns:
            Scores and features; see `TwoHeadOutput`.

        Raises:
            ModelError: a modality is missing, or a clip has the wrong shape.
        """
        missing = [name for name in self.modalities if name not in clips]
        if missing:
            raise ModelError(f"the model reads {', '.join(self.modalities)}; the batch lacks {', '.join(missing)}")
        features, levels = self.pool(clips)
        output = TwoHeadOutput(*self.classify(features), features, levels=levels)
        return output if self.action_head is None else self.action_head(output, fold=not self.training)


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


MakeTrunk = Callable[[Modality], tuple[nn.Module, Normalise]]
"""To a trunk, which has `num_features` and `features(clip) -> (B, D)`, and its normalisation."""


class Stream(StreamHeads):
    """One modality: normalisation, trunk, dropout, two linear heads.

    Args:
        make_trunk: called with the modality.
        modality: read from clips.
        dropout: probability of dropping a pooled feature before the heads.
        classes: what they classify.
    """

    def __init__(self, make_trunk: MakeTrunk, modality: Modality, dropout: float, classes: Classes) -> None:
        super().__init__()
        self.channels = modality.channels
        trunk, normalise = make_trunk(modality)
        self.normalise: Normalise = normalise
        self.trunk: Any = trunk
        self.add_heads(int(trunk.num_features), dropout, classes)  # type: ignore[arg-type]

    def features(self, clip_BCTHW: Tensor) -> Tensor:
        """Pooled features of clips.

        Args:
            clip_BCTHW: uint8 or float, in 0..255.

        Returns:
            (B, D).

        Raises:
            ModelError: other than (B, C, T, H, W) with the stream's channels.
        """
        if clip_BCTHW.ndim != 5 or clip_BCTHW.shape[1] != self.channels:
            raise ModelError(f"a stream takes clips (B, {self.channels}, T, H, W), got {tuple(clip_BCTHW.shape)}")
        x_BCTHW = self.normalise(clip_BCTHW).contiguous(memory_format=torch.channels_last_3d)
        features_BD: Tensor = self.trunk.features(x_BCTHW)
        return features_BD


class TwoStream(StreamsModel[Stream]):
    """One stream per modality of videos.

    Args:
        modalities: names of modalities with channels, at least one.
        make_trunk: called for each modality in turn.
        dropout: probability of dropping a pooled feature before the heads.
        classes: what the model classifies.

    Raises:
        ModelError: no modality, an unknown one, or one named twice.
    """

    def __init__(
        self, modalities: Sequence[str], make_trunk: MakeTrunk, dropout: float = 0.0, classes: Classes = ALL_CLASSES
    ) -> None:
        known = [name for name, row in MODALITIES.items() if row.from_video]
        if not modalities or len(set(modalities)) != len(modalities) or set(modalities) - set(known):
            raise ModelError(f"streams are made for one or more of {', '.join(known)}; got {list(modalities)}")
        streams = {name: Stream(make_trunk, MODALITIES[name], dropout, classes) for name in modalities}
        super().__init__(streams, {name: stream.trunk.num_features for name, stream in streams.items()}, classes)

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], None]:
        """Run the trunks.

        Args:
            clips: (B, C, T, H, W) per modality, uint8 or float, in 0..255.

        Returns:
            (B, D) per modality, and no levels.

        Raises:
            ModelError: a clip has the wrong shape, or too few frames.
        """
        return {name: self.stream(name).features(clips[name]) for name in self.modalities}, None
