"""Video networks of torchvision: R(2+1)D, MViT v2, Video Swin. `tiny` variants are ours, for tests and tiny recipes."""

from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, R2Plus1dStem, VideoResNet
from torchvision.models.video.swin_transformer import SwinTransformer3d

from epicsub.models.video_trunk import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    VideoTrunk,
    with_channels,
)

R2PLUS1D_LAYERS = {"18": [2, 2, 2, 2], "tiny": [1, 1, 1, 1]}
R2PLUS1D_MEAN, R2PLUS1D_STD = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)  # torchvision's transforms
MVIT_BLOCKS = {"s": (1, 2, 11, 2), "tiny": (1, 1, 1, 1)}
MVIT_WIDTH = {"s": 96, "tiny": 16}
SWIN_WIDTH = {"t": 96, "s": 96, "b": 128, "tiny": 24}
SWIN_DEPTHS = {"t": [2, 2, 6, 2], "s": [2, 2, 18, 2], "b": [2, 2, 18, 2], "tiny": [1, 1, 1, 1]}
SWIN_HEADS = {"t": [3, 6, 12, 24], "s": [3, 6, 12, 24], "b": [4, 8, 16, 32], "tiny": [1, 2, 4, 8]}


def r2plus1d(variant: str, channels: int) -> VideoTrunk:
    """R(2+1)D (arXiv 1711.11248): convolutions over space and time in turn.

    Args:
        variant: 18, or tiny: one block per stage.
        channels: C.

    Returns:
        The trunk, with random weights.
    """
    network = VideoResNet(BasicBlock, [Conv2Plus1D] * 4, R2PLUS1D_LAYERS[variant], R2Plus1dStem)
    network.stem[0] = with_channels(network.stem[0], channels)
    features = network.fc.in_features
    network.fc = nn.Identity()
    return VideoTrunk(network, features, R2PLUS1D_MEAN, R2PLUS1D_STD)


def mvit_v2(variant: str, channels: int, frames: int, size: int, drop_path: float) -> VideoTrunk:
    """MViT v2 (arXiv 2112.01526): multi-scale vision transformer, whose relative positions are made for a clip.

    Args:
        variant: s, or tiny: one block per stage, a sixth of the channels.
        channels: C.
        frames: T, even.
        size: pixels, a multiple of 32.
        drop_path: probability of leaving out the last block of a clip, less for the earlier ones.

    Returns:
        The trunk, with random weights.
    """
    network = MViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=_mvit_blocks(variant),
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=1,
        dropout=0.0,
        stochastic_depth_prob=drop_path,
    )
    network.conv_proj = with_channels(network.conv_proj, channels)
    for name, parameter in network.blocks[-1].attn.named_parameters():
        if name.startswith(("rel_pos", "pool_q")):
            parameter.requires_grad_(False)  # of the picture's queries, and only the class token's is read after it
    features = network.head[1].in_features
    network.head = nn.Identity()
    return VideoTrunk(network, features, KINETICS_MEAN, KINETICS_STD)


def _mvit_blocks(variant: str) -> list[MSBlockConfig]:
    """Blocks of the four stages: channels and heads double from stage to stage, and the picture halves (table 2)."""
    width, blocks = MVIT_WIDTH[variant], []
    for stage, count in enumerate(MVIT_BLOCKS[variant]):
        for number in range(count):
            first = number == 0 and stage > 0
            dim = width * 2**stage
            kv = [1, *(2 ** (3 - stage),) * 2]
            blocks.append(
                MSBlockConfig(
                    num_heads=2**stage,
                    input_channels=dim // 2 if first else dim,
                    output_channels=dim,
                    kernel_q=[3, 3, 3],
                    kernel_kv=[3, 3, 3],
                    stride_q=[1, 2, 2] if first else [1, 1, 1],
                    stride_kv=kv,
                )
            )
    return blocks


def video_swin(variant: str, channels: int, drop_path: float) -> VideoTrunk:
    """Video Swin (arXiv 2106.13230): attention in shifted windows of space and time, padded to any clip.

    Args:
        variant: t, s, b, or tiny: one block per stage, a quarter of the channels.
        channels: C.
        drop_path: probability of leaving out the last block of a clip, less for the earlier ones.

    Returns:
        The trunk, with random weights.
    """
    network = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=SWIN_WIDTH[variant],
        depths=SWIN_DEPTHS[variant],
        num_heads=SWIN_HEADS[variant],
        window_size=[8, 7, 7],
        stochastic_depth_prob=drop_path,
        num_classes=1,
    )
    network.patch_embed.proj = with_channels(network.patch_embed.proj, channels)
    features = network.head.in_features
    network.head = nn.Identity()
    return VideoTrunk(network, features, IMAGENET_MEAN, IMAGENET_STD)
