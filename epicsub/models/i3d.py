"""Inception I3D (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv 1705.07750).

Shapes: B clips, C channels, T frames, H, W pixels; D features (1024 at full width).

State-dict names are those of the public PyTorch port, so that `rgb_imagenet.pt` and `flow_imagenet.pt` load strictly.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.normalise import Normalise
from epicsub.models.pooling import SameMaxPool3d, mean_of_pairs, same_paddings
from epicsub.models.relation_head import Relations
from epicsub.models.streams import TwoStream
from epicsub.models.table import MODELS, WEIGHTS
from epicsub.models.weights import check_fit, check_modalities, find_weights, load_published

ROW = MODELS["i3d"]
MIN_FRAMES = ROW.min_frames  # the temporal chain T -> T/2 -> T/4 -> T/8 must reach the 2 of the last average pool

# Channels of (b0 1x1, b1a 1x1, b1b 3x3, b2a 1x1, b2b 3x3, b3b 1x1): Table of the paper's Fig. 3, "Inc." modules.
MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}
MAP = "Mixed_4f"
"""Of a sixteenth of the picture, which relations read."""
POOL_BEFORE = {  # kernel and stride of the max pool that stands before a module
    "Conv3d_2b_1x1": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}


class Unit3D(nn.Module):
    """Convolution with SAME padding, then batch norm and ReLU unless `linear` (a bare 1x1x1 classifier with bias)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, linear: bool = False) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels_in, channels_out, self.kernel, self.stride, bias=linear)
        # Sonnet's decay is 0.999 applied once per tower and step; over its 8 towers that is about 0.01 per step.
        self.bn = None if linear else nn.BatchNorm3d(channels_out, eps=1e-3, momentum=0.01)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve with SAME padding, normalise, rectify.

        Args:
            x_BCTHW: activations.

        Returns:
            (B, C', T', H', W').
        """
        pads = same_paddings(x_BCTHW, self.kernel, self.stride)
        before = [before for before, _ in pads]
        if any(before != after for before, after in pads):  # one more after: no convolution pads so itself
            x_BCTHW = F.pad(x_BCTHW, [side for both in reversed(pads) for side in both])
            before = [0, 0, 0]
        x_BCTHW = F.conv3d(x_BCTHW, self.conv3d.weight, self.conv3d.bias, self.stride, before)
        return x_BCTHW if self.bn is None else F.relu(self.bn(x_BCTHW), inplace=True)


class InceptionModule(nn.Module):
    """Four parallel branches, concatenated over channels in the order b0, b1, b2, b3."""

    def __init__(self, channels_in: int, channels: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = channels
        self.b0 = Unit3D(channels_in, b0, 1)
        self.b1a, self.b1b = Unit3D(channels_in, b1a, 1), Unit3D(b1a, b1b, 3)
        self.b2a, self.b2b = Unit3D(channels_in, b2a, 1), Unit3D(b2a, b2b, 3)
        self.b3a, self.b3b = SameMaxPool3d((3, 3, 3), (1, 1, 1)), Unit3D(channels_in, b3b, 1)
        self.channels_out = b0 + b1b + b2b + b3b

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Concatenate the four branches.

        Args:
            x_BCTHW: activations.

        Returns:
            (B, C', T, H, W).
        """
        branches = (self.b0(x_BCTHW), self.b1b(self.b1a(x_BCTHW)), self.b2b(self.b2a(x_BCTHW)))
        return torch.cat((*branches, self.pool_branch(x_BCTHW)), dim=1)

    def pool_branch(self, x_BCTHW: Tensor) -> Tensor:
        """Pool, then mix channels: the cheapest branch, which keeps the most memory for the backward pass.

        Args:
            x_BCTHW: activations.

        Returns:
            (B, C'', T, H, W).
        """
        return self.b3b(self.b3a(x_BCTHW))  # type: ignore[no-any-return]  # a module's call is Any


class I3D(nn.Module):
    """One stream of Inception I3D.

    Args:
        channels_in: 3 for RGB, 2 for optical flow; values in [-1, 1].
        num_classes: size of the 1x1x1 convolution `logits` (400 for Kinetics), or None for a trunk alone.
        width: share of the paper's channels in every layer; 1.0 for the published weights.
        dropout: probability of dropping a feature before `logits`.
    """

    def __init__(
        self, channels_in: int, num_classes: int | None = None, width: float = 1.0, dropout: float = 0.5
    ) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(2, round(channels * width))

        self.Conv3d_1a_7x7 = Unit3D(channels_in, scaled(64), 7, stride=2)
        self.Conv3d_2b_1x1 = Unit3D(scaled(64), scaled(64), 1)
        self.Conv3d_2c_3x3 = Unit3D(scaled(64), scaled(192), 3)
        channels_now = scaled(192)
        for name, (b0, b1a, b1b, b2a, b2b, b3b) in MIXED.items():
            module = InceptionModule(
                channels_now, (scaled(b0), scaled(b1a), scaled(b1b), scaled(b2a), scaled(b2b), scaled(b3b))
            )
            self.add_module(name, module)
            channels_now = module.channels_out
            if name == MAP:
                self.map_channels = channels_now
        self.num_features = channels_now
        self.dropout = nn.Dropout(dropout)
        self.logits = None if num_classes is None else Unit3D(channels_now, num_classes, 1, linear=True)
        self.trunk_names = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3", *MIXED)
        self.pools = {name: SameMaxPool3d(*spec) for name, spec in POOL_BEFORE.items()}  # no parameters, no names

    def walk(self, x_BCTHW: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Run the trunk.

        Args:
            x_BCTHW: normalised clips.

        Yields:
            The name and output of every convolution and mixed module, in order.

        Raises:
            ModelError: other than (B, channels_in, T, H, W), or fewer than `MIN_FRAMES` frames.
        """
        self._check(x_BCTHW)
        for name in self.trunk_names:
            if name in self.pools:
                x_BCTHW = self.pools[name](x_BCTHW)
            x_BCTHW = self.get_submodule(name)(x_BCTHW)
            yield name, x_BCTHW

    def endpoints(self, x_BCTHW: Tensor) -> dict[str, Tensor]:
        """Output of every convolution and mixed module.

        Args:
            x_BCTHW: normalised clips.

        Returns:
            By name, e.g. `Mixed_4f` (B, 832, T/4, H/16, W/16).
        """
        return dict(self.walk(x_BCTHW))

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """Pooled features before dropout, which the heads and the domain discriminator read.

        The average pool takes 2 frames and the whole picture; for more than 16 frames the mean over time follows.

        Args:
            x_BCTHW: normalised clips.

        Returns:
            (B, D).
        """
        return self._pool(x_BCTHW).mean(dim=2).flatten(1)

    def features_and_map(self, x_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, and the output of `Mixed_4f` that relations read.

        Args:
            x_BCTHW: normalised clips.

        Returns:
            (B, D) and (B, 832 at full width, T/4, H/16, W/16).
        """
        map_BCTHW = last_BCTHW = x_BCTHW
        for name, last_BCTHW in self.walk(x_BCTHW):
            if name == MAP:
                map_BCTHW = last_BCTHW
        return mean_of_pairs(last_BCTHW).mean(dim=2).flatten(1), map_BCTHW

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Classify clips: the mean over time of the per-step logits.

        Args:
            x_BCTHW: clips in -1 to 1, at least 9 frames.

        Returns:
            (B, num_classes) logits.

        Raises:
            ModelError: the network was built without classes.
        """
        if self.logits is None:
            raise ModelError("this I3D was built without classes (num_classes=None): call features()")
        logits: Tensor = self.logits(self.dropout(self._pool(x_BCTHW)))
        return logits.mean(dim=2).flatten(1)

    def _pool(self, x_BCTHW: Tensor) -> Tensor:
        last_BCTHW = x_BCTHW
        for _, output_BCTHW in self.walk(x_BCTHW):
            last_BCTHW = output_BCTHW
        return mean_of_pairs(last_BCTHW)

    def _check(self, x_BCTHW: Tensor) -> None:
        if x_BCTHW.ndim != 5 or x_BCTHW.shape[1] != self.Conv3d_1a_7x7.conv3d.in_channels:
            expected = self.Conv3d_1a_7x7.conv3d.in_channels
            raise ModelError(f"I3D takes clips (B, {expected}, T, H, W), got {tuple(x_BCTHW.shape)}")
        if x_BCTHW.shape[2] < MIN_FRAMES:
            raise ModelError(f"I3D needs at least {MIN_FRAMES} frames, got {x_BCTHW.shape[2]}")


def two_stream_i3d(
    modalities: Sequence[str],
    width: float = 1.0,
    dropout: float = 0.5,
    bn_momentum: float = 0.01,
    classes: Classes = ALL_CLASSES,
    relations: Relations | None = None,
) -> TwoStream:
    """The paper's network: one Inception I3D per modality, with random weights.

    Args:
        modalities: of the streams, in order.
        width: share of the paper's channels in every layer; published weights need 1.0.
        dropout: probability of dropping a pooled feature before the heads.
        bn_momentum: share of a batch in the running statistics.
        classes: what the model classifies.
        relations: as of `TwoStream`.

    Returns:
        The model.
    """

    def trunk(modality: Modality) -> tuple[nn.Module, Normalise]:
        return I3D(modality.channels, width=width), Normalise(modality.mean, modality.std)

    model = TwoStream(modalities, trunk, dropout, classes, relations)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = bn_momentum
    return model


def build_i3d(
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    weights: Mapping[str, str | None],
    width: float = 1.0,
    relations: Relations | None = None,
    **settings: float,
) -> TwoStream:
    """A `two_stream_i3d` with published weights.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        weights: as of `build_video`.
        width: share of the paper's channels in every layer.
        relations: as of `TwoStream`.
        **settings: `dropout` and `bn_momentum` of `two_stream_i3d`.

    Returns:
        The model.

    Raises:
        ModelError: weights are not named for exactly the modalities, are not found, or do not fit.
    """
    check_modalities("weights", weights, modalities)
    for modality, name in weights.items():
        check_fit(name, ROW.name)
        if name in WEIGHTS and WEIGHTS[name].modality not in (modality, MODALITIES[modality].cut_from):
            raise ModelError(
                f"weights {name} are for {WEIGHTS[name].modality}, not for the {modality} stream: see `epicsub "
                "weights list`"
            )
        if name in WEIGHTS and width != 1.0:
            raise ModelError(f"weights {name} are for width 1.0, not {width}; with another width write null")
    model = two_stream_i3d(modalities, width, classes=classes, relations=relations, **settings)
    for modality, name in weights.items():
        if load_weights and name is not None:
            load_published(model.stream(modality).trunk, find_weights(name), ROW.dropped)
    return model
