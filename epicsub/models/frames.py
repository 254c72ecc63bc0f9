"""Frame models: a timm image model on every frame of a clip, a module over time, one such stream per modality.

Shapes: B clips, C channels, T frames, H, W pixels; D features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import timm
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import Classes
from epicsub.models.temporal import BiLSTM, MeanPool, MultiScaleLSTM, TemporalTransformer
from epicsub.models.two_stream import Normalise, TwoStream
from epicsub.models.weights import find_backbone_weights, find_weights, load_published


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
        raise ModelError(f"backbone {name!r}: has no stochastic depth: drop_path must be 0 ({error})") from error
    except RuntimeError as error:
        near = timm.list_models(f"*{name.partition('.')[0][:6]}*")[:5]
        raise ModelError(
            f"backbone {name!r}: {error}; near it are {', '.join(near) or 'none'}; `timm.list_models()` lists all"
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


def _published(backbone: nn.Module, key: str) -> Any:
    """An entry of the `pretrained_cfg` that timm gives a model."""
    config: Mapping[str, Any] = backbone.pretrained_cfg  # type: ignore[assignment]
    return config.get(key) or ()


def build_frames(
    temporal: Callable[[int], nn.Module],
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    backbone: str,
    weights: str | None,
    head_dropout: float = 0.0,
    drop_path: float = 0.0,
) -> TwoStream:
    """A timm backbone on every frame and a module over time, one stream per modality.

    Args:
        temporal: length of a frame's features -> module over time.
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        backbone: timm name.
        weights: of the backbone: "timm" for those timm publishes, a file, or None for random ones.
        head_dropout: probability of dropping a pooled feature before the heads.
        drop_path: probability of leaving out the backbone's last block, less for the earlier ones.

    Returns:
        The model.

    Raises:
        ModelError: no such backbone, or weights that are not found or do not fit.
    """

    def trunk(modality: Modality) -> tuple[nn.Module, Normalise]:
        network = build_backbone(backbone, modality.channels, drop_path)
        normalise = Normalise.of_rgb(_published(network, "mean"), _published(network, "std"), modality.channels)
        return FrameTrunk(network, temporal), normalise

    model = TwoStream(modalities, trunk, head_dropout, classes)
    for modality in modalities:
        network = model.stream(modality).trunk.backbone
        if load_weights and weights is not None:
            timm_weights = weights == "timm"
            path = find_backbone_weights(backbone, network.pretrained_cfg) if timm_weights else find_weights(weights)
            dropped, inputs = (_published(network, key) for key in ("classifier", "first_conv"))
            load_published(network, path, dropped, inputs, MODALITIES[modality].channels)
    return model


def build_frame_mean(
    modalities: Sequence[str], load_weights: bool, classes: Classes, dropout: float = 0.5, **backbone: Any
) -> TwoStream:
    """The mean of the frames' features.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        dropout: probability of dropping a pooled feature.
        **backbone: `backbone`, `weights` and `drop_path` of `build_frames`.

    Returns:
        The model.
    """
    return build_frames(MeanPool, modalities, load_weights, classes, head_dropout=dropout, **backbone)


def build_frame_lstm(
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    hidden: int = 1024,
    layers: int = 2,
    dropout: float = 0.3,
    **backbone: Any,
) -> TwoStream:
    """A bidirectional LSTM over the frames.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        hidden: see `BiLSTM`.
        layers: see `BiLSTM`.
        dropout: see `BiLSTM`.
        **backbone: `backbone`, `weights` and `drop_path` of `build_frames`.

    Returns:
        The model.
    """
    return build_frames(lambda dim: BiLSTM(dim, hidden, layers, dropout), modalities, load_weights, classes, **backbone)


def build_frame_transformer(
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    frames: int,
    layers: int = 4,
    heads: int = 8,
    dropout: float = 0.1,
    **backbone: Any,
) -> TwoStream:
    """A transformer over the frames.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        frames: see `TemporalTransformer`.
        layers: see `TemporalTransformer`.
        heads: see `TemporalTransformer`.
        dropout: see `TemporalTransformer`.
        **backbone: `backbone`, `weights` and `drop_path` of `build_frames`.

    Returns:
        The model.
    """
    return build_frames(
        lambda dim: TemporalTransformer(dim, frames, layers, heads, dropout),
        modalities,
        load_weights,
        classes,
        **backbone,
    )


def build_frame_multiscale(
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    hidden: int = 1024,
    dropout: float = 0.3,
    **backbone: Any,
) -> TwoStream:
    """LSTMs at three scales of time.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        hidden: see `MultiScaleLSTM`.
        dropout: probability of dropping a pooled feature.
        **backbone: `backbone`, `weights` and `drop_path` of `build_frames`.

    Returns:
        The model.
    """
    return build_frames(
        lambda dim: MultiScaleLSTM(dim, hidden), modalities, load_weights, classes, head_dropout=dropout, **backbone
    )
