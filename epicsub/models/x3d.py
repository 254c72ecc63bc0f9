"""X3D (arXiv 2004.04730) of pytorchvideo: small and cheap 3D networks."""

from torch import nn

from epicsub.models.video_trunk import KINETICS_MEAN, KINETICS_STD, VideoTrunk, per_channel

DEPTH_FACTORS = {"xs": 2.2, "s": 2.2, "m": 2.2, "l": 5.0, "tiny": 1.0}


def x3d(variant: str, channels: int, frames: int) -> VideoTrunk:
    """X3D XS, S, M (one network, published for 4, 13 and 16 frames) or L, or `tiny`: a quarter of the channels.

    Args:
        variant: a key of `DEPTH_FACTORS`.
        channels: C.
        frames: T, any number.
    """
    from pytorchvideo.models.x3d import create_x3d

    network = create_x3d(
        input_channel=channels,
        input_clip_length=frames,
        input_crop_size=32,  # sets the size of a pool that is replaced below
        model_num_class=1,
        dropout_rate=0.0,
        width_factor=0.5 if variant == "tiny" else 2.0,
        depth_factor=DEPTH_FACTORS[variant],
        head_dim_out=256 if variant == "tiny" else 2048,
        head_activation=None,
    )
    head = network.blocks[5]
    head.pool.pool = nn.AdaptiveAvgPool3d(1)  # any number of frames and pixels
    features = head.proj.in_features
    head.proj = nn.Identity()
    return VideoTrunk(
        network,
        features,
        per_channel(KINETICS_MEAN, channels),
        per_channel(KINETICS_STD, channels),
        classifier=("blocks.5.proj",),
        first=("blocks.0.conv.conv_t",),
    )
