"""Video networks of pytorchvideo: SlowFast, X3D, I3D with a ResNet-50. Each takes any number of pixels.

`tiny` variants are ours, for tests and tiny recipes.
"""

import torch
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.x3d import create_x3d
from torch import Tensor, nn

from epicsub.models.video_trunk import KINETICS_MEAN, KINETICS_STD, VideoTrunk

ALPHA = 4  # frames of SlowFast's fast pathway per frame of the slow one, as the published 8x8 models have
SLOWFAST_DEPTHS = {"r50": 50, "r101": 101, "tiny": 18}  # pytorchvideo's 18 has one block per stage
SLOWFAST_FUSION = {"r50": (7, 1, 1), "r101": (5, 1, 1), "tiny": (5, 1, 1)}
X3D_DEPTH_FACTORS = {"xs": 2.2, "s": 2.2, "m": 2.2, "l": 5.0, "tiny": 1.0}
I3D_STEMS = {"r50": 64, "tiny": 8}
I3D_TIME_KERNELS = (  # of the published 8x8 model: time is read in some blocks of each stage
    (3, 1, 1),
    [(3, 1, 1), (1, 1, 1)],
    [(3, 1, 1), (1, 1, 1)],
    [(1, 1, 1), (3, 1, 1)],
)


def slowfast(variant: str, channels: int, frames: int, acrn: bool = False) -> VideoTrunk:
    """SlowFast 8x8 (arXiv 1812.03982): a slow pathway of every fourth frame, a fast one of all.

    Args:
        variant: r50, r101, or tiny: one block per stage, a quarter of the channels.
        channels: C.
        frames: T of the fast pathway, a multiple of 4.
        acrn: for its published head, the last stage keeps a sixteenth of the picture, and is the map.

    Returns:
        The trunk, with random weights.
    """
    stems = (16, 2) if variant == "tiny" else (64, 8)
    network = create_slowfast(
        input_channels=(channels, channels),
        model_depth=SLOWFAST_DEPTHS[variant],
        model_num_class=1,
        dropout_rate=0.0,
        stem_dim_outs=stems,
        slowfast_fusion_conv_kernel_size=SLOWFAST_FUSION[variant],
        stage_spatial_strides=((1, 2, 2, 1 if acrn else 2),) * 2,
    )
    network.blocks[5].pool = nn.ModuleList(nn.AdaptiveAvgPool3d(1) for _ in stems)  # any number of frames and pixels
    slow_T = torch.linspace(0, frames - 1, frames // ALPHA).long()  # with the first frame and the last, as published

    def pathways(x_BCTHW: Tensor) -> list[Tensor]:
        return [x_BCTHW.index_select(2, slow_T.to(x_BCTHW.device)), x_BCTHW]

    features = _without_projection(network.blocks[6])
    return VideoTrunk(
        network,
        features,
        KINETICS_MEAN,
        KINETICS_STD,
        inputs=pathways,
        map_block=4 if acrn else 3,  # the slow pathway of res4 has twice the fast one's channels fused into it
        map_channels=32 * sum(stems) if acrn else 16 * (stems[0] + 3 * stems[1]),
        as_map=_joined,
    )


def _joined(pathways: list[Tensor]) -> Tensor:
    """Both pathways of SlowFast at the times of the slow one."""
    slow_BCTHW, fast_BCTHW = pathways
    B, C, _, H, W = fast_BCTHW.shape
    fast_of_slow = fast_BCTHW.reshape(B, C, slow_BCTHW.shape[2], -1, H, W).mean(dim=3)
    return torch.cat([slow_BCTHW, fast_of_slow], dim=1)


def x3d(variant: str, channels: int, frames: int) -> VideoTrunk:
    """X3D (arXiv 2004.04730); XS, S and M are one network, published for 4, 13 and 16 frames.

    Args:
        variant: xs, s, m, l, or tiny: a quarter of the channels.
        channels: C.
        frames: T, any number.

    Returns:
        The trunk, with random weights.
    """
    network = create_x3d(
        input_channel=channels,
        input_clip_length=frames,
        input_crop_size=32,  # sets the size of a pool that is replaced below
        model_num_class=1,
        dropout_rate=0.0,
        width_factor=0.5 if variant == "tiny" else 2.0,
        depth_factor=X3D_DEPTH_FACTORS[variant],
        head_dim_out=256 if variant == "tiny" else 2048,
        head_activation=None,
    )
    network.blocks[5].pool.pool = nn.AdaptiveAvgPool3d(1)  # any number of frames and pixels
    features = _without_projection(network.blocks[5])
    return VideoTrunk(
        network, features, KINETICS_MEAN, KINETICS_STD, map_block=3, map_channels=24 if variant == "tiny" else 96
    )


def i3d_r50(variant: str, channels: int, frames: int) -> VideoTrunk:
    """I3D 8x8 with a ResNet-50 (arXiv 1705.07750, 1711.07971); the Inception one is in i3d.py.

    Args:
        variant: r50, or tiny: an eighth of the channels.
        channels: C.
        frames: T, 2 or more; the network does not depend on it.

    Returns:
        The trunk, with random weights.
    """
    network = create_resnet(
        input_channel=channels,
        model_depth=50,
        model_num_class=1,
        dropout_rate=0.0,
        stem_dim_out=I3D_STEMS[variant],
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=I3D_TIME_KERNELS,
    )
    network.blocks[-1].pool = nn.AdaptiveAvgPool3d(1)  # any number of frames and pixels
    features = _without_projection(network.blocks[-1])
    return VideoTrunk(network, features, KINETICS_MEAN, KINETICS_STD, map_block=4, map_channels=16 * I3D_STEMS[variant])


def _without_projection(head: nn.Module) -> int:
    """Take the classifier out of a head and return the number of features that it read."""
    projection = head.proj
    assert isinstance(projection, nn.Linear)
    head.proj = nn.Identity()
    return projection.in_features
