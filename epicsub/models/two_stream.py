"""Streams of video clips with late fusion: one trunk per modality (MMIR, arXiv 2311.14281, section 3.1).

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.streams import StreamHeads, StreamsModel

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
        return (x_BC.to(self.mean.dtype) - self.mean.view(shape)) / self.std.view(shape)


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
