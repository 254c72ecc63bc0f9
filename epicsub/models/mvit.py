"""MViT v2 (arXiv 2112.01526) of torchvision: multi-scale vision transformer with relative positions."""

from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT

from epicsub.errors import ModelError
from epicsub.models.video_trunk import KINETICS_MEAN, KINETICS_STD, VideoTrunk, other_channels, per_channel

STRIDE = (2, 4, 4)  # of the patch embedding, in frames and pixels
POOLED = 8  # the three stages that halve the picture after it
BLOCKS = {"s": (1, 2, 11, 2), "tiny": (1, 1, 1, 1)}
HEADS = {"s": 1, "tiny": 1}
WIDTH = {"s": 96, "tiny": 16}


def mvit(variant: str, channels: int, frames: int, size: int, drop_path: float) -> VideoTrunk:
    """MViT v2 S, or `tiny`: one block a stage, a sixth of the channels.

    Args:
        variant: a key of `BLOCKS`.
        channels: C.
        frames: T; its relative positions are made for it.
        size: pixels; its relative positions are made for it.
        drop_path: probability of leaving out the last block of a clip, less for the earlier ones.

    Raises:
        ModelError: a size that the stages cannot halve.
    """
    if size % (STRIDE[1] * POOLED) or frames % STRIDE[0]:
        raise ModelError(f"mvit takes an even number of frames and a multiple of 32 pixels, not {frames} and {size}")
    network = MViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=blocks(variant),
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=1,
        dropout=0.0,
        stochastic_depth_prob=drop_path,
    )
    network.conv_proj = other_channels(network.conv_proj, channels)
    for name, parameter in network.blocks[-1].attn.named_parameters():
        if name.startswith(("rel_pos", "pool_q")):
            parameter.requires_grad_(False)  # of the picture's queries, and only the class token's is read after it
    features = network.head[1].in_features
    network.head = nn.Identity()
    return VideoTrunk(
        network,
        features,
        per_channel(KINETICS_MEAN, channels),
        per_channel(KINETICS_STD, channels),
        classifier=("head.1",),
        first=("conv_proj",),
    )


def blocks(variant: str) -> list[MSBlockConfig]:
    """Blocks of the four stages: channels and heads double from stage to stage, and the picture halves (table 2)."""
    width, made = WIDTH[variant], []
    for stage, count in enumerate(BLOCKS[variant]):
        for number in range(count):
            first = number == 0 and stage > 0
            dim = width * 2**stage
            kv = [1, *(2 ** (3 - stage),) * 2]
            made.append(
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
    return made
