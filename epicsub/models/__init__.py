"""Models: uint8 clips in, verb and noun logits and pooled features out. They know no data, recipe, loss or optimiser.

A new model is one file, one function and one line in `MODELS`, or in `VIDEO_TRUNKS` of build_video.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.build_video import (
    VIDEO_TRUNKS,
    build_frame_lstm,
    build_frame_mean,
    build_frame_multiscale,
    build_frame_transformer,
    build_video,
)
from epicsub.models.feature_heads import FeatureHeads
from epicsub.models.outputs import TwoHeadOutput
from epicsub.models.published import WEIGHTS
from epicsub.models.temporal_relations import TemporalRelations
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.models.two_stream import TwoStream, two_stream_i3d
from epicsub.models.weights import find_weights, load_i3d

__all__ = [
    "CLIP_SETTINGS",
    "MODELS",
    "FeatureHeads",
    "TemporalRelations",
    "TwoClassifiers",
    "TwoHeadOutput",
    "TwoStream",
    "build_model",
]


def build_i3d(
    modalities: Sequence[str],
    load_weights: bool,
    weights: Mapping[str, str | None],
    width: float = 1.0,
    dropout: float = 0.5,
    bn_momentum: float = 0.01,
) -> TwoStream:
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
    model = two_stream_i3d(modalities, width, dropout)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = bn_momentum
    for modality, name in weights.items():
        if load_weights and name is not None:
            load_i3d(model.stream(modality), find_weights(name))
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


def build_feature_heads(
    modalities: Sequence[str],
    load_weights: bool,
    dims: Mapping[str, int],
    bottleneck: int | None = None,
    batch_norm: bool = False,
    dropout: float = 0.5,
    bn_momentum: float = 0.1,
) -> FeatureHeads:
    """Heads on features made before; see `FeatureHeads`.

    Args:
        modalities: of the features, in order.
        load_weights: without effect, there are none to load.
        dims: length of a feature of each modality.
        bottleneck: units between features and heads, or None.
        batch_norm: in the bottleneck.
        dropout: probability before the heads.
        bn_momentum: share of a batch in the running statistics.

    Raises:
        ModelError: dims are not of exactly the modalities.
    """
    if set(dims) != set(modalities):
        raise ModelError(f"dims are given for {sorted(dims)}, the features are of {sorted(modalities)}; name each one")
    ordered = {name: dims[name] for name in modalities}
    return FeatureHeads(ordered, bottleneck, batch_norm, dropout, bn_momentum)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "i3d": build_i3d,
    "frame_mean": build_frame_mean,
    "frame_lstm": build_frame_lstm,
    "frame_transformer": build_frame_transformer,
    "frame_multiscale": build_frame_multiscale,
    **{name: partial(build_video, name) for name in VIDEO_TRUNKS},
    "feature_heads": build_feature_heads,
    "temporal_relations": build_temporal_relations,
}
CLIP_SETTINGS: dict[str, tuple[str, ...]] = {
    "frame_transformer": ("frames",),
    **dict.fromkeys(VIDEO_TRUNKS, ("frames", "size")),
}
"""Models that are made for a clip's number of frames, or pixels, and take them as settings."""


def build_model(name: str, modalities: Sequence[str], load_weights: bool = True, **settings: Any) -> nn.Module:
    """Build a model of `MODELS`; `settings` are the named arguments of its function, and any other is a TypeError.

    Raises:
        ModelError: no such model, or weights that are not found or do not fit.
    """
    if name not in MODELS:
        raise ModelError(f"model {name!r}: no such model; there are {', '.join(MODELS)}")
    return MODELS[name](modalities, load_weights, **settings)
