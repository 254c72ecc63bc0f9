"""Video Swin Transformer (arXiv 2106.13230) of torchvision: attention in shifted windows of space and time."""

from torch import nn
from torchvision.models.video.swin_transformer import SwinTransformer3d

from epicsub.models.video_trunk import IMAGENET_MEAN, IMAGENET_STD, VideoTrunk, other_channels, per_channel

WIDTH = {"t": 96, "s": 96, "b": 128, "tiny": 24}
DEPTHS = {"t": [2, 2, 6, 2], "s": [2, 2, 18, 2], "b": [2, 2, 18, 2], "tiny": [1, 1, 1, 1]}
HEADS = {"t": [3, 6, 12, 24], "s": [3, 6, 12, 24], "b": [4, 8, 16, 32], "tiny": [1, 2, 4, 8]}


def video_swin(variant: str, channels: int, frames: int, size: int, drop_path: float) -> VideoTrunk:
    """Video Swin T, S or B, or `tiny`: one block a stage, a quarter of the channels.

    Args:
        variant: a key of `WIDTH`.
        channels: C.
        frames: T; not read, windows are padded.
        size: not read, windows are padded.
        drop_path: probability of leaving out the last block of a clip, less for the earlier ones.
    """
    network = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=WIDTH[variant],
        depths=DEPTHS[variant],
        num_heads=HEADS[variant],
        window_size=[8, 7, 7],
        stochastic_depth_prob=drop_path,
        num_classes=1,
    )
    network.patch_embed.proj = other_channels(network.patch_embed.proj, channels)
    features = network.head.in_features
    network.head = nn.Identity()
    return VideoTrunk(
        network,
        features,
        per_channel(IMAGENET_MEAN, channels),
        per_channel(IMAGENET_STD, channels),
        classifier=("head",),
        first=("patch_embed.proj",),
    )
