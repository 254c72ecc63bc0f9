"""I3D with a ResNet-50 (arXiv 1705.07750, 1711.07971) of pytorchvideo; the Inception one is i3d.py."""

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.video_trunk import KINETICS_MEAN, KINETICS_STD, VideoTrunk, per_channel

STEMS = {"r50": 64, "tiny": 8}
TIME_KERNELS = (  # of the published 8x8 model: time is read in some blocks of each stage
    (3, 1, 1),
    [(3, 1, 1), (1, 1, 1)],
    [(3, 1, 1), (1, 1, 1)],
    [(1, 1, 1), (3, 1, 1)],
)


def i3d_r50(variant: str, channels: int, frames: int) -> VideoTrunk:
    """I3D R50 8x8, or `tiny`: an eighth of its channels.

    Args:
        variant: a key of `STEMS`.
        channels: C.
        frames: T, 2 or more.

    Raises:
        ModelError: a single frame.
    """
    from pytorchvideo.models.resnet import create_resnet

    if frames < 2:
        raise ModelError(f"i3d_r50 pools every two frames after its first stage: 2 or more, not {frames}")
    network = create_resnet(
        input_channel=channels,
        model_depth=50,
        model_num_class=1,
        dropout_rate=0.0,
        stem_dim_out=STEMS[variant],
        stem_conv_kernel_size=(5, 7, 7),
        stage1_pool=nn.MaxPool3d,
        stage_conv_a_kernel_size=TIME_KERNELS,
    )
    head = network.blocks[-1]
    head.pool = nn.AdaptiveAvgPool3d(1)  # any number of frames and pixels
    features = head.proj.in_features
    head.proj = nn.Identity()
    return VideoTrunk(
        network,
        features,
        per_channel(KINETICS_MEAN, channels),
        per_channel(KINETICS_STD, channels),
        classifier=("blocks.6.proj",),
        first=("blocks.0.conv",),
    )
