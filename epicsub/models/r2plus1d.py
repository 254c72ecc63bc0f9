"""R(2+1)D (arXiv 1711.11248) of torchvision: space and time in turn."""

from torch import nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet

from epicsub.models.video_trunk import VideoTrunk, other_channels, per_channel

LAYERS = {"18": [2, 2, 2, 2], "tiny": [1, 1, 1, 1]}
MEAN, STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's transforms for these weights


def r2plus1d(variant: str, channels: int, frames: int) -> VideoTrunk:
    """R(2+1)D-18, or `tiny`: one block a stage.

    Args:
        variant: a key of `LAYERS`.
        channels: C.
        frames: T; not read, the network takes any.
    """
    network = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, LAYERS[variant], R2Plus1dStem)
    network.stem[0] = other_channels(network.stem[0], channels)
    features = network.fc.in_features
    network.fc = nn.Identity()
    return VideoTrunk(
        network,
        features,
        per_channel(MEAN, channels),
        per_channel(STD, channels),
        classifier=("fc",),
        first=("stem.0",),
    )
