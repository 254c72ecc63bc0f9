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


class FrameMeanModel(Section):
    """An image backbone on each frame, the mean over time of its features. A stream a modality."""

    name: Literal["frame_mean"]
    """Model."""
    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature."""
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the backbone's last block for a frame, less for the earlier ones."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


class FrameLSTMModel(Section):
    """An image backbone on each frame, a bidirectional LSTM over them, the mean over time. A stream a modality."""

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
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the backbone's last block for a frame, less for the earlier ones."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


class FrameTransformerModel(Section):
    """An image backbone on each frame, a transformer over them, the mean over time. A stream a modality."""

    name: Literal["frame_transformer"]
    """Model."""
    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    layers: Count = 4
    """Blocks of the encoder."""
    heads: Count = 8
    """Heads of its attention; must divide the backbone's features."""
    dropout: ShareBelowOne = 0.1
    """Probability of dropping inside its blocks."""
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the backbone's last block for a frame, less for the earlier ones."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


class FrameMultiscaleModel(Section):
    """An image backbone on each frame; LSTMs on every, every second and every fourth of them. A stream a modality."""

    name: Literal["frame_multiscale"]
    """Model."""
    backbone: Text
    """Name of a timm model, e.g. resnet50.tv2_in1k."""
    hidden: Count = 1024
    """Units of each LSTM in each direction."""
    dropout: ShareBelowOne = 0.3
    """Probability of dropping a pooled feature."""
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the backbone's last block for a frame, less for the earlier ones."""
    weights: Text | None
    """Initial weights of the backbone: "timm" for those timm publishes, a file, or null for random ones."""


VideoName = Literal["slowfast", "x3d", "i3d_r50", "r2plus1d", "mvit_v2", "video_swin", "timesformer", "videomae"]


class VideoModel(Section):
    """A video network of pytorchvideo, torchvision or transformers. A stream a modality, their logits summed."""

    name: VideoName
    """Model."""
    variant: Literal["r50", "r101", "xs", "s", "m", "l", "18", "t", "b", "small", "base", "large", "tiny"]
    """Size of the network, as its authors call it; tiny is ours, with random weights."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a pooled feature."""
    drop_path: ShareBelowOne = 0.0
    """Probability of leaving out the last block of a clip, less for the earlier ones (mvit_v2, video_swin)."""
    weights: dict[Modality, Text | None]
    """Initial weights of each modality: a published name, a file, or null for random ones."""


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


class FeatureHeadsModel(Section):
    """A small network on features made before (`data.features`): a bottleneck, verb and noun heads a modality."""

    name: Literal["feature_heads"]
    """Model."""
    dims: dict[Modality, Count]
    """Length of a feature vector of each modality: 1024 of I3D and of the organisers' UDA features."""
    bottleneck: Count | None = None
    """Units of the layer before the heads, which adaptation aligns; null puts the heads on the features as they are."""
    batch_norm: bool = False
    """Batch norm in the bottleneck, before its ReLU; AdaBN needs it [D]."""
    dropout: ShareBelowOne = 0.5
    """Probability of dropping a unit before the heads [P]."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of a batch in the running statistics (torch's default)."""


Model = Annotated[
    I3DModel
    | FrameMeanModel
    | FrameLSTMModel
    | FrameTransformerModel
    | FrameMultiscaleModel
    | VideoModel
    | FeatureHeadsModel
    | TemporalRelationsModel,
    Field(discriminator="name"),
]
