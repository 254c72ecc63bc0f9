"""Frame models: a timm image model on every frame of a clip, a module over time, one such stream per modality.

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import Classes
from epicsub.models.maps import map_level
from epicsub.models.normalise import Normalise
from epicsub.models.relation_head import Relations
from epicsub.models.streams import TwoStream
from epicsub.models.weights import check_fit, find_backbone_weights, find_weights, load_published

SCALES = (1, 2, 4)  # every frame, every second, every fourth


class MeanPool(nn.Module):
    """The mean over time: temporal segment networks' consensus (arXiv 1608.00859), before the heads."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.num_features = dim

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D).
        """
        return x_BTD.mean(dim=1)


class BiLSTM(nn.LSTM):
    """A bidirectional LSTM, the mean of its outputs over time.

    Args:
        dim: D.
        hidden: units in each direction.
        layers: of the LSTM.
        dropout: probability of dropping a unit between layers, so without effect for one.
    """

    def __init__(self, dim: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__(
            dim, hidden, layers, batch_first=True, bidirectional=True, dropout=dropout if layers > 1 else 0.0
        )
        self.num_features = 2 * hidden

    def forward(self, x_BTD: Tensor) -> Tensor:  # type: ignore[override]
        """Run the LSTM, then average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, num_features).
        """
        return super().forward(x_BTD)[0].mean(dim=1)


class TemporalTransformer(nn.Module):
    """A transformer encoder over the frames with learnt positions, the mean over time.

    Args:
        dim: D.
        frames: T that it has positions for.
        layers: of the encoder.
        heads: of its attention.
        dropout: probability inside its blocks.

    Raises:
        ModelError: features that the heads cannot share.
    """

    def __init__(self, dim: int, frames: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ModelError(f"the backbone's {dim} features do not divide over {heads} heads: choose a divisor")
        self.num_features = dim
        self.positions_TD = nn.Parameter(torch.zeros(frames, dim))
        nn.init.trunc_normal_(self.positions_TD, std=0.02)
        block = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Encode, then average over time.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, D).

        Raises:
            ModelError: the clip has another number of frames than the positions.
        """
        if x_BTD.shape[1] != len(self.positions_TD):
            raise ModelError(
                f"the model was made for {len(self.positions_TD)} frames, the clip has {x_BTD.shape[1]}: give as many"
            )
        encoded_BTD: Tensor = self.encoder(x_BTD + self.positions_TD)
        return encoded_BTD.mean(dim=1)


class MultiScaleLSTM(nn.Module):
    """Short, medium and long: one bidirectional LSTM on every frame, one on every second, one on every fourth.

    Their means over time are joined by a linear layer.

    Args:
        dim: D.
        hidden: units in each direction, of each LSTM.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.num_features = 2 * hidden
        self.scales = nn.ModuleList(BiLSTM(dim, hidden, 1, 0.0) for _ in SCALES)
        self.fusion = nn.Linear(2 * hidden * len(SCALES), 2 * hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Fuse the scales.

        Args:
            x_BTD: features of T frames.

        Returns:
            (B, num_features).
        """
        pooled = [scale(x_BTD[:, ::every]) for scale, every in zip(self.scales, SCALES, strict=True)]
        fused_BD: Tensor = self.fusion(torch.cat(pooled, dim=1))
        return fused_BD


def build_backbone(name: str, channels: int = 3, drop_path: float = 0.0) -> nn.Module:
    """A timm image model without its classifier, with random weights.

    Args:
        name: of timm, e.g. resnet50.tv2_in1k.
        channels: C.
        drop_path: probability of leaving out the last block, less for the earlier ones.

    Returns:
        The network, with `num_features` and `pretrained_cfg`.

    Raises:
        ModelError: timm has no model of this name (the nearest names are listed), or it has no drop path.
    """
    settings: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, in_chans=channels, **settings)
    except TypeError as error:
        raise ModelError(f"backbone {name!r}: has no stochastic depth: drop_path must be 0") from error
    except RuntimeError as error:
        near = timm.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise ModelError(
            f"backbone {name!r}: timm has no such model or tag; near it are {', '.join(near) or 'none'}; "
            "`timm.list_models()` lists all"
        ) from error
    return network


class FrameTrunk(nn.Module):
    """Frames one by one through an image model, then over time.

    Args:
        backbone: of `build_backbone`.
        temporal: length of a frame's features -> module (B, T, D) -> (B, num_features), which it also names.
    """

    def __init__(self, backbone: nn.Module, temporal: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.temporal: Any = temporal(int(backbone.num_features))  # type: ignore[arg-type]
        self.num_features: Any = self.temporal.num_features
        found = map_level(backbone)
        self.map_level = None if found is None else found[0]
        self.map_channels = None if found is None else found[1]

    def features(self, x_BCTHW: Tensor) -> Tensor:
        """Pooled features of normalised clips.

        Args:
            x_BCTHW: clips.

        Returns:
            (B, num_features).
        """
        B, _, T = x_BCTHW.shape[:3]
        frames_BTCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        pooled_BD: Tensor = self.temporal(self.backbone(frames_BTCHW).unflatten(0, (B, T)))
        return pooled_BD

    def features_and_map(self, x_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features, and the map that relations read: one time per frame.

        Args:
            x_BCTHW: normalised clips.

        Returns:
            (B, num_features) and (B, C', T, H / 16, W / 16).
        """
        B, _, T = x_BCTHW.shape[:3]
        frames_BTCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        backbone: Any = self.backbone
        last, (map_NCHW,) = backbone.forward_intermediates(frames_BTCHW, indices=[self.map_level])
        pooled_BD: Tensor = self.temporal(backbone.forward_head(last).unflatten(0, (B, T)))
        return pooled_BD, map_NCHW.unflatten(0, (B, T)).transpose(1, 2)


def _published(backbone: nn.Module, key: str) -> Any:
    """An entry of the `pretrained_cfg` that timm gives a model."""
    config: Mapping[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    return config.get(key) or ()


class Temporal(NamedTuple):
    """How the frames of a clip become one feature."""

    module: Callable[[int], nn.Module]
    """Length of a frame's features -> module (B, T, D) -> (B, num_features), which it also names."""
    head_dropout: float = 0.0
    """Probability of dropping a pooled feature before the heads."""


def _mean(dropout: float = 0.5) -> Temporal:
    return Temporal(MeanPool, dropout)


def _lstm(hidden: int = 1024, layers: int = 2, dropout: float = 0.3) -> Temporal:
    return Temporal(lambda dim: BiLSTM(dim, hidden, layers, dropout))


def _transformer(frames: int, layers: int = 4, heads: int = 8, dropout: float = 0.1) -> Temporal:
    return Temporal(lambda dim: TemporalTransformer(dim, frames, layers, heads, dropout))


def _multiscale(hidden: int = 1024, dropout: float = 0.3) -> Temporal:
    return Temporal(lambda dim: MultiScaleLSTM(dim, hidden), dropout)


def build_frames(
    over_time: Callable[..., Temporal],
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    backbone: str,
    weights: str | None,
    drop_path: float = 0.0,
    relations: Relations | None = None,
    **settings: Any,
) -> TwoStream:
    """A timm backbone on every frame and a module over time, one stream per modality.

    Args:
        over_time: `settings` -> how the frames become one feature.
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        backbone: timm name.
        weights: of the backbone: "timm" for those timm publishes, a file, or None for random ones.
        drop_path: probability of leaving out the backbone's last block, less for the earlier ones.
        relations: as of `TwoStream`.
        **settings: of `over_time`.

    Returns:
        The model.

    Raises:
        ModelError: no such backbone, or weights that are not found or do not fit.
    """
    check_fit(weights, f"backbone {backbone.partition('.')[0]}")
    temporal, head_dropout = over_time(**settings)

    def trunk(modality: Modality) -> tuple[nn.Module, Normalise]:
        network = build_backbone(backbone, modality.channels, drop_path)
        normalise = Normalise.of_rgb(_published(network, "mean"), _published(network, "std"), modality.channels)
        return FrameTrunk(network, temporal), normalise

    model = TwoStream(modalities, trunk, head_dropout, classes, relations)
    for modality in modalities:
        network = model.stream(modality).trunk.backbone
        if load_weights and weights is not None:
            timm_weights = weights == "timm"
            path = find_backbone_weights(backbone, network.pretrained_cfg) if timm_weights else find_weights(weights)
            dropped, inputs = (_published(network, key) for key in ("classifier", "first_conv"))
            load_published(network, path, dropped, inputs, MODALITIES[modality].channels)
    return model


build_frame_mean = partial(build_frames, _mean)
"""The mean of the frames' features; `dropout` is the probability of dropping a pooled feature."""
build_frame_lstm = partial(build_frames, _lstm)
"""A `BiLSTM` over the frames, with its settings."""
build_frame_transformer = partial(build_frames, _transformer)
"""A `TemporalTransformer` over the frames, with its settings."""
build_frame_multiscale = partial(build_frames, _multiscale)
"""A `MultiScaleLSTM` over the frames; `dropout` is the probability of dropping a pooled feature."""
