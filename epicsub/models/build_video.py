"""From settings to the models of libraries: frame models on timm, video networks of three other libraries."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.frames import FrameTrunk, build_backbone, normalisation_of
from epicsub.models.hugging_face import timesformer, videomae
from epicsub.models.i3d_r50 import i3d_r50
from epicsub.models.mvit import mvit
from epicsub.models.normalise import Normalise, from_unit_range
from epicsub.models.published import WEIGHTS
from epicsub.models.r2plus1d import r2plus1d
from epicsub.models.slowfast import slowfast
from epicsub.models.temporal import BiLSTM, MeanPool, MultiScaleLSTM, TemporalTransformer
from epicsub.models.two_stream import CHANNELS, TwoStream
from epicsub.models.video_swin import video_swin
from epicsub.models.video_trunk import VideoTrunk
from epicsub.models.weights import find_backbone_weights, find_weights, load_backbone, load_video_trunk
from epicsub.models.x3d import x3d

VIDEO_TRUNKS: dict[str, Callable[..., VideoTrunk]] = {
    "slowfast": slowfast,
    "x3d": x3d,
    "i3d_r50": i3d_r50,
    "r2plus1d": r2plus1d,
    "mvit_v2": mvit,
    "video_swin": video_swin,
    "timesformer": timesformer,
    "videomae": videomae,
}
MADE_FOR_A_SIZE = ("mvit_v2", "video_swin", "timesformer", "videomae")
WITH_DROP_PATH = ("mvit_v2", "video_swin")


def build_video(
    name: str,
    modalities: Sequence[str],
    load_weights: bool,
    frames: int,
    size: int,
    variant: str,
    weights: Mapping[str, str | None],
    dropout: float = 0.5,
    drop_path: float = 0.0,
) -> TwoStream:
    """A video network of a library, one stream a modality.

    Args:
        name: a key of `VIDEO_TRUNKS`.
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        frames: of a clip.
        size: pixels of a clip's side.
        variant: of the network, e.g. r50.
        weights: a published name, a file, or None for random ones, for every modality.
        dropout: probability before the heads.
        drop_path: probability of leaving out the last block; for the networks of `WITH_DROP_PATH`.

    Raises:
        ModelError: weights are not named for exactly the modalities, are for another network, are not found or do not
            fit; or frames and pixels do not fit the network.
    """
    if set(weights) != set(modalities):
        raise ModelError(
            f"weights are named for {sorted(weights)}, the streams are {sorted(modalities)}: name each one"
        )
    for published in weights.values():
        if published in WEIGHTS and WEIGHTS[published].model != f"{name} {variant}":
            raise ModelError(f"weights {published} are for {WEIGHTS[published].model}, not for {name} {variant}")
    settings: dict[str, Any] = {"size": size} if name in MADE_FOR_A_SIZE else {}
    if name in WITH_DROP_PATH:
        settings["drop_path"] = drop_path
    elif drop_path:
        raise ModelError(f"{name} has no stochastic depth: drop_path must be 0")

    def trunk(channels: int) -> tuple[nn.Module, Normalise]:
        made = VIDEO_TRUNKS[name](variant, channels, frames, **settings)
        return made, from_unit_range(made.mean, made.std)

    model = TwoStream(modalities, trunk, dropout)
    for modality, wanted in weights.items():
        if load_weights and wanted is not None:
            load_video_trunk(model.stream(modality).trunk, find_weights(wanted), CHANNELS[modality])
    return model


def build_frames(
    temporal: Callable[[int], nn.Module],
    modalities: Sequence[str],
    load_weights: bool,
    backbone: str,
    weights: str | None,
    head_dropout: float = 0.0,
    drop_path: float = 0.0,
) -> TwoStream:
    """A timm backbone on every frame and a module over time, one stream a modality.

    Args:
        temporal: of temporal.py: length of a frame's features -> module.
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        backbone: timm name.
        weights: of the backbone: "timm" for those timm publishes, a file, or None for random ones.
        head_dropout: probability before the heads.
        drop_path: probability of leaving out the backbone's last block.

    Raises:
        ModelError: no such backbone, or weights that are not found or do not fit.
    """

    def trunk(channels: int) -> tuple[nn.Module, Normalise]:
        made = build_backbone(backbone, channels, drop_path)
        return FrameTrunk(made, temporal), normalisation_of(made, channels)

    model = TwoStream(modalities, trunk, head_dropout)
    for modality in modalities:
        made = model.stream(modality).trunk.backbone
        if load_weights and weights is not None:
            load_backbone(made, backbone_weights(backbone, made, weights), CHANNELS[modality])
    return model


def backbone_weights(name: str, backbone: nn.Module, weights: str) -> Path:
    """The file for "timm" or for the path of a file."""
    if weights == "timm":
        return find_backbone_weights(name, backbone.pretrained_cfg)  # type: ignore[arg-type]
    return find_weights(weights)


def build_frame_mean(
    modalities: Sequence[str],
    load_weights: bool,
    backbone: str,
    weights: str | None,
    dropout: float = 0.5,
    drop_path: float = 0.0,
) -> TwoStream:
    """The mean of the frames' features. Arguments as of `build_frames`; `dropout` before the heads."""
    return build_frames(MeanPool, modalities, load_weights, backbone, weights, dropout, drop_path)


def build_frame_lstm(
    modalities: Sequence[str],
    load_weights: bool,
    backbone: str,
    weights: str | None,
    hidden: int = 1024,
    layers: int = 2,
    dropout: float = 0.3,
    drop_path: float = 0.0,
) -> TwoStream:
    """A bidirectional LSTM over the frames. Arguments as of `build_frames` and `BiLSTM`."""
    return build_frames(
        lambda dim: BiLSTM(dim, hidden, layers, dropout),
        modalities,
        load_weights,
        backbone,
        weights,
        drop_path=drop_path,
    )


def build_frame_transformer(
    modalities: Sequence[str],
    load_weights: bool,
    frames: int,
    backbone: str,
    weights: str | None,
    layers: int = 4,
    heads: int = 8,
    dropout: float = 0.1,
    drop_path: float = 0.0,
) -> TwoStream:
    """A transformer over the frames. Arguments as of `build_frames` and `TemporalTransformer`."""
    return build_frames(
        lambda dim: TemporalTransformer(dim, frames, layers, heads, dropout),
        modalities,
        load_weights,
        backbone,
        weights,
        drop_path=drop_path,
    )


def build_frame_multiscale(
    modalities: Sequence[str],
    load_weights: bool,
    backbone: str,
    weights: str | None,
    hidden: int = 1024,
    dropout: float = 0.3,
    drop_path: float = 0.0,
) -> TwoStream:
    """LSTMs at three scales of time. Arguments as of `build_frames` and `MultiScaleLSTM`; `dropout` before heads."""
    return build_frames(
        lambda dim: MultiScaleLSTM(dim, hidden), modalities, load_weights, backbone, weights, dropout, drop_path
    )
