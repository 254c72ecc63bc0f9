"""`model` of a recipe: the network, one section a kind. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import Count, Positive, Section, ShareBelowOne, Text
from epicsub.recipe.schema_data import Modality


class I3DModel(Section):
    """One Inception I3D a modality (arXiv 1705.07750), verb and noun heads, sum of the streams' logits [P]."""

    name: Literal["i3d"]
    """Model."""
    width: Positive = 1.0
    """Share of the paper's channels in every layer; published weights need 1.0."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature [P]."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of a batch in the running statistics; 0.01 as published, more where a run has few steps."""
    weights: dict[Modality, Text | None]
    """Initial weights of each modality: a published name, a file, or null for random ones."""


class FrameLSTMModel(Section):
    """An image backbone on each frame, a bidirectional LSTM over them, the mean over time, verb and noun heads."""

    name: Literal["frame_lstm"]
    """Model."""
    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    hidden: Count = 1024
    """Units of the LSTM in each direction."""
    layers: Count = 2
    """Layers of the LSTM."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a unit between the LSTM's layers."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


class TemporalRelationsModel(Section):
    """Relations between frames, on features of them made before: what TA3N aligns. Verb and noun heads a modality."""

    name: Literal["temporal_relations"]
    """Model."""
    dims: dict[Modality, Count]
    """Length of a frame's feature vector of each modality: 1024 of the organisers' UDA features."""
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


Model = Annotated[I3DModel | FrameLSTMModel | TemporalRelationsModel, Field(discriminator="name")]
