"""From a row of the table and a recipe's settings to a model: uint8 clips in, verb and noun logits and features out."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.modality import MODALITIES, Modality
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.maps import MAPS
from epicsub.models.normalise import Normalise
from epicsub.models.relation_head import Relations
from epicsub.models.streams import TwoStream
from epicsub.models.table import MODELS, ModelRow
from epicsub.models.weights import check_fit, check_modalities, find_weights, load_published


def build_model(
    name: str, modalities: Sequence[str], load_weights: bool = True, classes: Classes = ALL_CLASSES, **settings: Any
) -> nn.Module:
    """Build a model of the table.

    Args:
        name: of a row.
        modalities: of the streams, in order.
        load_weights: False leaves published weights out: a checkpoint's follow.
        classes: what the model classifies.
        **settings: named arguments of the row's builder, or of `build_video`; any other is a TypeError.

    Returns:
        The model, with `feature_dims`, `modalities` and `classify(features)`.

    Raises:
        ModelError: no such model, or weights that are not found or do not fit.
    """
    if name not in MODELS:
        raise ModelError(f"model {name!r}: no such model; there are {', '.join(MODELS)}")
    row = MODELS[name]
    if settings.get("relations") is not None:
        settings["relations"] = Relations(**settings["relations"])
    if row.variants:
        return build_video(row, modalities, load_weights, classes, **settings)
    builder = _import_builder(row)
    if row.reads == "features":
        dims = settings.pop("dims")
        check_modalities("dims", dims, modalities)
        on_features: nn.Module = builder({name: dims[name] for name in modalities}, classes=classes, **settings)
        return on_features
    model: nn.Module = builder(modalities, load_weights, classes, **settings)
    return model


def _import_builder(row: ModelRow) -> Any:
    """The function that a row names; its library is imported now."""
    module, _, function = row.builder.partition(":")
    return getattr(import_module(module), function)


def build_video(
    row: ModelRow,
    modalities: Sequence[str],
    load_weights: bool,
    classes: Classes,
    variant: str,
    weights: Mapping[str, str | None],
    dropout: float = 0.5,
    drop_path: float = 0.0,
    frames: int = 0,
    size: int = 0,
    relations: Relations | None = None,
) -> TwoStream:
    """A library's video network, one stream per modality.

    Args:
        row: of the table, with variants.
        modalities: of the streams, in order.
        load_weights: False where a checkpoint's weights follow.
        classes: what the model classifies.
        variant: of the network, e.g. r50.
        weights: a published name, a file, or None for random ones, for every modality.
        dropout: probability of dropping a pooled feature before the heads.
        drop_path: probability of leaving out the last block, where the row has stochastic depth.
        frames: per clip, where the row names them.
        size: pixels of a clip's side, where the row names it.
        relations: as of `TwoStream`.

    Returns:
        The model.

    Raises:
        ModelError: weights are not named for exactly the modalities, are for another network, are not found or do not
            fit; frames and pixels do not fit the network; or relations do not.
    """
    check_modalities("weights", weights, modalities)
    for published in weights.values():
        check_fit(published, f"{row.name} {variant}")
    if drop_path and not row.drop_path:
        raise ModelError(f"{row.name} has no stochastic depth: drop_path must be 0")
    offered = {"frames": frames, "size": size}
    clip = {name: offered[name] for name in row.clip}
    if problem := row.clip_problem(**clip):
        raise ModelError(problem)
    settings: dict[str, Any] = clip | ({"drop_path": drop_path} if row.drop_path else {})
    if relations is not None and relations.head == "acrn":
        if row.name not in MAPS or not MAPS[row.name].acrn:
            fit = ", ".join(other for other, of in MAPS.items() if of.acrn)
            raise ModelError(f"the head acrn is made for {fit}, not for {row.name}: take one of these")
        settings["acrn"] = True
    builder = _import_builder(row)

    def trunk(modality: Modality) -> tuple[nn.Module, Normalise]:
        network = builder(variant, modality.channels, **settings)
        return network, Normalise.of_rgb(network.mean, network.std, modality.channels)

    model = TwoStream(modalities, trunk, dropout, classes, relations)
    for modality, name in weights.items():
        if load_weights and name is not None:
            network = model.stream(modality).trunk.network
            channels = MODALITIES[modality].channels
            load_published(network, find_weights(name), row.dropped, row.input_layers, channels)
    return model
