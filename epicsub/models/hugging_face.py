"""TimeSformer (arXiv 2102.05095) and VideoMAE (arXiv 2203.12602) of transformers, which is an extra: `epicsub[hf]`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.video_trunk import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    VideoTrunk,
    per_channel,
)

PATCH = 16
SIZES = {  # hidden units, layers, heads
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "tiny": (48, 2, 3),
}


def timesformer(variant: str, channels: int, frames: int, size: int) -> VideoTrunk:
    """TimeSformer with divided space-time attention; `base` is the published one.

    Args:
        variant: a key of `SIZES`.
        channels: C.
        frames: T; its time embeddings are made for it.
        size: pixels, a multiple of 16.

    Raises:
        ModelError: transformers is not installed, or pixels that are no multiple of a patch.
    """
    transformers = library()
    network = transformers.TimesformerForVideoClassification(
        transformers.TimesformerConfig(**shape(variant, channels, frames, size))
    )
    # DATA.MEAN and DATA.STD of timesformer/config/defaults.py, and preprocessor_config.json of the published files
    return trunk(network, channels, "timesformer", KINETICS_MEAN, KINETICS_STD)


def videomae(variant: str, channels: int, frames: int, size: int) -> VideoTrunk:
    """A plain video transformer on tubes of two frames, as VideoMAE pre-trains and fine-tunes it.

    Args:
        variant: a key of `SIZES`.
        channels: C.
        frames: T, even.
        size: pixels, a multiple of 16.

    Raises:
        ModelError: transformers is not installed, or frames and pixels that do not fit its patches.
    """
    if frames % 2:
        raise ModelError(f"videomae reads tubes of two frames: an even number, not {frames}")
    transformers = library()
    network = transformers.VideoMAEForVideoClassification(
        transformers.VideoMAEConfig(**shape(variant, channels, frames, size))
    )
    # preprocessor_config.json of the published files
    return trunk(network, channels, "videomae", IMAGENET_MEAN, IMAGENET_STD)


def library() -> Any:
    """The transformers package.

    Raises:
        ModelError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise ModelError(f"this model needs transformers: pip install 'epicsub[hf]' ({error})") from error
    return transformers


def shape(variant: str, channels: int, frames: int, size: int) -> dict[str, Any]:
    """Settings that both configurations share.

    Raises:
        ModelError: pixels that are no multiple of a patch.
    """
    if size % PATCH:
        raise ModelError(f"pictures are cut into patches of {PATCH} pixels: a multiple of it, not {size}")
    hidden, layers, heads = SIZES[variant]
    return {
        "image_size": size,
        "num_frames": frames,
        "num_channels": channels,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "num_labels": 1,
    }


def trunk(network: nn.Module, channels: int, prefix: str, mean: Sequence[float], std: Sequence[float]) -> VideoTrunk:
    """The library's classification model without its classifier: what is left are pooled features.

    `mean` and `std` are of RGB pixels in 0..1, as the published weights were trained with.
    """
    features = network.classifier.in_features  # type: ignore[union-attr]
    network.classifier = nn.Identity()
    return VideoTrunk(
        network,
        features,  # type: ignore[arg-type]
        per_channel(mean, channels),
        per_channel(std, channels),
        inputs=lambda x_BCTHW: x_BCTHW.transpose(1, 2),
        outputs=lambda output: output.logits,
        classifier=("classifier",),
        first=(f"{prefix}.embeddings.patch_embeddings.projection",),
    )
