"""`model` of a recipe: the network, one section per kind. Tags as in schema.py."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from epicsub.modality import RGB, ModalityName
from epicsub.models.maps import MAPS
from epicsub.models.table import MODELS
from epicsub.recipe.base import Count, Positive, Section, ShareBelowOne, Text
from epicsub.recipe.yaml_tree import Problem, format_value

if TYPE_CHECKING:
    VideoName = str
else:  # the video networks of libraries
    VideoName = Literal[tuple(row.name for row in MODELS.values() if row.variants)]


class ModelSection(Section):
    """What every model has. epicsub/models/table.py has a row of facts about each."""

    name: str
    """Model."""


class Relations(Section):
    """Relations of hands and objects with the scene, on the map of one stream; they read `data.boxes`."""

    head: Literal["relations", "acrn"] = "relations"
    """relations is ours; acrn the published head on SlowFast's last stage, with 1807.10982's two convolutions."""
    stream: ModalityName = RGB.name  # type: ignore[assignment]  # a row's name is one of them
    """Modality whose map is read."""
    hidden: Count = 256
    """Units of a row (relations only) [D]."""
    drop: ShareBelowOne = 0.1
    """Probability that a training clip is shown without its boxes [D]."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a unit before the relations' verb and noun heads."""


class FeatureModelSection(ModelSection):
    """What every model on features has."""

    dims: dict[ModalityName, Count]
    """Length of a feature vector of each modality: 1024 of I3D and of the organisers' UDA features."""


class FrameModelSection(ModelSection):
    """What every model with a timm backbone on each frame has. One stream per modality."""

    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the backbone's last block for a frame, less for the earlier ones."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""
    relations: Relations | None = None
    """Relations of hands and objects with the scene; null is none."""


class I3DModel(ModelSection):
    """One Inception I3D per modality (arXiv 1705.07750), verb and noun heads, sum of the streams' logits [P]."""

    name: Literal["i3d"]
    width: Positive = 1.0
    """Share of the paper's channels in every layer; published weights need 1.0."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature [P]."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of a batch in the running statistics; 0.01 as published, more where a run has few steps."""
    weights: dict[ModalityName, Text | None]
    """Initial weights of each modality: a published name, a file, or null for random ones."""
    relations: Relations | None = None
    """Relations of hands and objects with the scene; null is none."""


class FrameMeanModel(FrameModelSection):
    """An image backbone on each frame, the mean over time of its features. One stream per modality."""

    name: Literal["frame_mean"]
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature."""


class FrameLSTMModel(FrameModelSection):
    """An image backbone on each frame, a bidirectional LSTM over them, the mean over time. One stream per modality."""

    name: Literal["frame_lstm"]
    hidden: Count = 1024
    """Units of the LSTM in each direction."""
    layers: Count = 2
    """Layers of the LSTM."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a unit between the LSTM's layers."""


class FrameTransformerModel(FrameModelSection):
    """An image backbone on each frame, a transformer over them, the mean over time. One stream per modality."""

    name: Literal["frame_transformer"]
    layers: Count = 4
    """Blocks of the encoder."""
    heads: Count = 8
    """Heads of its attention; must divide the backbone's features."""
    dropout: ShareBelowOne = 0.1
    """Probability of dropping inside its blocks."""


class FrameMultiscaleModel(FrameModelSection):
    """An image backbone on each frame; LSTMs on each, every second and every fourth. One stream per modality."""

    name: Literal["frame_multiscale"]
    hidden: Count = 1024
    """Units of each LSTM in each direction."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a pooled feature."""


class VideoModel(ModelSection):
    """A video network of pytorchvideo, torchvision or transformers. One stream per modality, their logits summed."""

    name: VideoName
    variant: Text
    """Size of the network, as its authors call it; tiny is ours, with random weights."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature."""
    drop_path: ShareBelowOne = 0.0
    """Stochastic depth, if the network has it: probability of leaving out the last block, less for earlier ones."""
    weights: dict[ModalityName, Text | None]
    """Initial weights of each modality: a published name, a file, or null for random ones."""
    relations: Relations | None = None
    """Relations of hands and objects with the scene, where the network has a map for them; null is none."""


class TemporalRelationsModel(FeatureModelSection):
    """Relations between frames, on features of them made before: what TA3N aligns. Verb and noun heads per modality."""

    name: Literal["temporal_relations"]
    segments: Annotated[int, Field(ge=2)] = 5
    """Frames that relations are between; features of more are cut to as many (the authors' code, as all of these)."""
    shared: Count = 512
    """Units of a frame's layer."""
    hidden: Count = 256
    """Units of a relation, and of the video's features."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a frame's or a video's feature."""
    attention: bool = True
    """Weigh relations by their domain discriminators, which ta3n trains; false for all other methods."""


class FeatureHeadsModel(FeatureModelSection):
    """A small network on features made before (`data.features`): a bottleneck, verb and noun heads per modality."""

    name: Literal["feature_heads"]
    bottleneck: Count | None = None
    """Units of the layer before the heads, which adaptation aligns; null puts the heads on the features as they are."""
    batch_norm: bool = False
    """Batch norm in the bottleneck, before its ReLU; AdaBN needs it [D]."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a unit before the heads [P]."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a batch in the running statistics (torch's default)."""


class ContextModel(FeatureModelSection):
    """A transformer over a segment and its neighbours, on features made before: MTCN's and TIM's parts, ours."""

    name: Literal["context"]
    window: Count = 9
    """Segments that it sees, the one that is classified in the middle: odd; 1 is that one alone."""
    width: Count = 256
    """Units of a token [D]; MTCN has 512."""
    layers: Count = 2
    """Blocks [D]; MTCN has 4."""
    heads: Count = 8
    """Heads of the attention; must divide the width."""
    position: Literal["index", "interval", "both"] = "both"
    """What tells the window's segments apart: their place, as MTCN, their times, as TIM, or both [D]."""
    dropout: ShareBelowOne = 0.1
    """Probability of dropping a unit inside the blocks and before the heads."""
    input_dropout: ShareBelowOne = 0.3
    """Probability of dropping an entry of a feature [D]; MTCN has 0.5."""


Model = Annotated[
    I3DModel
    | FrameMeanModel
    | FrameLSTMModel
    | FrameTransformerModel
    | FrameMultiscaleModel
    | VideoModel
    | FeatureHeadsModel
    | TemporalRelationsModel
    | ContextModel,
    Field(discriminator="name"),
]


def check_model(model: Model) -> Iterator[Problem]:
    """Check that the settings of `model` fit each other.

    Args:
        model: The section.

    Yields:
        What does not fit.
    """
    row = MODELS[model.name]
    if isinstance(model, VideoModel) and model.variant not in row.variants:
        choices = ", ".join(row.variants)
        text = f"is {format_value(model.variant)}, must be one of {choices} for model.name {model.name}"
        yield Problem("model.variant", text)
    if isinstance(model, VideoModel) and model.drop_path and not row.drop_path:
        text = f"is {format_value(model.drop_path)}, but {model.name} has no stochastic depth: leave it out"
        yield Problem("model.drop_path", text)
    if isinstance(model, ContextModel) and model.window % 2 == 0:
        yield Problem("model.window", f"is {model.window}, must be odd: the segment itself is in the middle")
    if isinstance(model, ContextModel) and model.width % model.heads:
        yield Problem("model.heads", f"is {model.heads}, must divide model.width ({model.width})")
    if relations_of(model) is not None:
        yield from _check_relations(model)


def window_of(model: Model) -> int | None:
    """Give the segments of a window.

    Args:
        model: The section, of a model that sees windows or not.

    Returns:
        Their number, or None.
    """
    return model.window if isinstance(model, ContextModel) else None


def relations_of(model: Model) -> Relations | None:
    """Give the relations of a model.

    Args:
        model: The section, of a model that may have them or not.

    Returns:
        Their section, or None.
    """
    return model.relations if isinstance(model, I3DModel | FrameModelSection | VideoModel) else None


def _check_relations(model: Model) -> Iterator[Problem]:
    relations = relations_of(model)
    assert relations is not None
    if model.name not in MAPS:
        text = f"is set, but {model.name} has no map of features for it: leave it out, or take {', '.join(MAPS)}"
        yield Problem("model.relations", text)
    elif relations.head == "acrn" and not MAPS[model.name].acrn:
        fit = ", ".join(name for name, row in MAPS.items() if row.acrn)
        yield Problem(
            "model.relations.head", f"is acrn, which is made for {fit}, not for {model.name}; take one of these"
        )
    if relations.head == "acrn" and relations.hidden != Relations.model_fields["hidden"].default:
        yield Problem("model.relations.hidden", f"is {relations.hidden}, but acrn has the map's channels: leave it out")
