"""SlowFast (arXiv 1812.03982) of pytorchvideo: a slow pathway of every fourth frame, a fast one of all."""

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.video_trunk import KINETICS_MEAN, KINETICS_STD, VideoTrunk, per_channel

ALPHA = 4  # frames of the fast pathway for one of the slow, as the published 8x8 models have
DEPTHS = {"r50": 50, "r101": 101, "tiny": 18}  # pytorchvideo's 18 has one block a stage
FUSION = {"r50": (7, 1, 1), "r101": (5, 1, 1), "tiny": (5, 1, 1)}


def slowfast(variant: str, channels: int, frames: int) -> VideoTrunk:
    """SlowFast R50 or R101 8x8, or `tiny`: one block a stage, a quarter of the channels.

    Args:
        variant: a key of `DEPTHS`.
        channels: C.
        frames: T of the fast pathway.

    Raises:
        ModelError: no such variant, or frames that cannot be shared between the pathways.
    """
    from pytorchvideo.models.slowfast import create_slowfast

    if frames % ALPHA or frames < 2 * ALPHA:
        raise ModelError(
            f"slowfast shares its frames between two pathways: a multiple of {ALPHA} from 8 on, not {frames}"
        )
    stems = (16, 2) if variant == "tiny" else (64, 8)
    network = create_slowfast(
        input_channels=(channels, channels),
        model_depth=DEPTHS[variant],
        model_num_class=1,
        dropout_rate=0.0,
        stem_dim_outs=stems,
        slowfast_fusion_conv_kernel_size=FUSION[variant],
    )
    network.blocks[5].pool = nn.ModuleList(nn.AdaptiveAvgPool3d(1) for _ in stems)  # any number of frames and pixels
    features = network.blocks[6].proj.in_features
    network.blocks[6].proj = nn.Identity()
    slow_T = torch.linspace(0, frames - 1, frames // ALPHA).long()  # with the first frame and the last, as published

    def pathways(x_BCTHW: Tensor) -> list[Tensor]:
        return [x_BCTHW.index_select(2, slow_T.to(x_BCTHW.device)), x_BCTHW]

    return VideoTrunk(
        network,
        features,
        per_channel(KINETICS_MEAN, channels),
        per_channel(KINETICS_STD, channels),
        inputs=pathways,
        classifier=("blocks.6.proj",),
        first=tuple(f"blocks.0.multipathway_blocks.{pathway}.conv" for pathway in (0, 1)),
    )
