"""Models: uint8 clips in, verb and noun logits and pooled features out. They know no data, recipe, loss or optimiser.

A new model is one file, one function here and one line in `MODELS`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.frame_lstm import FrameLSTM
from epicsub.models.outputs import TwoHeadOutput
from epicsub.models.temporal_relations import TemporalRelations
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.models.two_stream import TwoStreamI3D
from epicsub.models.weights import (
    WEIGHTS,
    find_backbone_weights,
    find_weights,
    load_backbone,
    load_i3d,
)

__all__ = ["MODELS", "FrameLSTM", "TemporalRelations", "TwoClassifiers", "TwoHeadOutput", "TwoStreamI3D", "build_model"]


def build_i3d(
    modalities: Sequence[str],
    load_weights: bool,
    weights: Mapping[str, str | None],
    width: float = 1.0,
    dropout: float = 0.5,
    bn_momentum: float = 0.01,
) -> TwoStreamI3D:
    """One I3D stream a modality.

    Args:
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        weights: a published name, a file, or None for random ones, for every modality.
        width: share of the paper's channels; published weights are for 1.0.
        dropout: probability before the heads.
        bn_momentum: share of a batch in the running statistics.

    Raises:
        ModelError: weights are not named for exactly the modalities, are not found, or do not fit.
    """
    if set(weights) != set(modalities):
        raise ModelError(
            f"weights are named for {sorted(weights)}, the streams are {sorted(modalities)}; name each one"
        )
    for modality, name in weights.items():
        if name in WEIGHTS and WEIGHTS[name].modality != modality:
            raise ModelError(f"weights {name} are for {WEIGHTS[name].modality}, not for the {modality} stream")
        if name in WEIGHTS and width != 1.0:
            raise ModelError(f"weights {name} are for width 1.0, not {width}; with another width write null")
    model = TwoStreamI3D(modalities, width, dropout)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = bn_momentum
    for modality, name in weights.items():
        if load_weights and name is not None:
            load_i3d(model.stream(modality), find_weights(name))
    return model


def build_frame_lstm(
    modalities: Sequence[str],
    load_weights: bool,
    backbone: str,
    weights: str | None,
    hidden: int = 1024,
    layers: int = 2,
    dropout: float = 0.3,
) -> FrameLSTM:
    """A timm backbone with a bidirectional LSTM over the frames.

    Args:
        modalities: rgb alone.
        load_weights: False where a checkpoint's weights follow.
        backbone: timm name.
        weights: of the backbone: "timm" for those timm publishes, a file, or None for random ones.
        hidden: LSTM units in each direction.
        layers: LSTM layers.
        dropout: probability between LSTM layers.

    Raises:
        ModelError: another modality, no such backbone, or weights that are not found or do not fit.
    """
    if tuple(modalities) != FrameLSTM.modalities:
        raise ModelError(f"frame_lstm reads rgb alone, not {list(modalities)}")
    model = FrameLSTM(backbone, hidden, layers, dropout)
    if load_weights and weights is not None:
        load_backbone(model.backbone, backbone_weights(backbone, model.backbone, weights))
    return model


def build_temporal_relations(
    modalities: Sequence[str],
    load_weights: bool,
    dims: Mapping[str, int],
    segments: int = 5,
    shared: int = 512,
    hidden: int = 256,
    dropout: float = 0.5,
    attention: bool = True,
) -> TemporalRelations:
    """Relations over features of frames.

    Args:
        modalities: of the streams, in order.
        load_weights: not read, there are no published weights.
        dims: length of a frame's feature vector of each modality.
        segments, shared, hidden, dropout, attention: see `TemporalRelations`.

    Raises:
        ModelError: dims are not given for exactly the modalities.
    """
    if set(dims) != set(modalities):
        raise ModelError(f"dims are given for {sorted(dims)}, the streams are {sorted(modalities)}; give each one")
    ordered = {modality: dims[modality] for modality in modalities}
    return TemporalRelations(ordered, segments, shared, hidden, dropout, attention)


def backbone_weights(name: str, backbone: nn.Module, weights: str) -> Path:
    """The file for "timm" or for the path of a file."""
    if weights == "timm":
        return find_backbone_weights(name, backbone.pretrained_cfg)  # type: ignore[arg-type]
    return find_weights(weights)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "i3d": build_i3d,
    "frame_lstm": build_frame_lstm,
    "temporal_relations": build_temporal_relations,
}


def build_model(name: str, modalities: Sequence[str], load_weights: bool = True, **settings: Any) -> nn.Module:
    """Build a model of `MODELS`; `settings` are the named arguments of its function, and any other is a TypeError.

    Raises:
        ModelError: no such model, or weights that are not found or do not fit.
    """
    if name not in MODELS:
        raise ModelError(f"model {name!r}: no such model; there are {', '.join(MODELS)}")
    return MODELS[name](modalities, load_weights, **settings)
