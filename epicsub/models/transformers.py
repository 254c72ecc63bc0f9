"""Video networks of transformers, which is an extra (`epicsub[hf]`): TimeSformer, VideoMAE.

`tiny` variants are ours, for tests and tiny recipes.
"""

from typing import Any

from torch import nn

from epicsub.errors import ModelError
from epicsub.models.video_trunk import IMAGENET_MEAN, IMAGENET_STD, KINETICS_MEAN, KINETICS_STD, VideoTrunk

SIZES = {  # hidden units, layers, heads
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
    "tiny": (48, 2, 3),
}


def timesformer(variant: str, channels: int, frames: int, size: int) -> VideoTrunk:
    """TimeSformer (arXiv 2102.05095) with divided space-time attention.

    Args:
        variant: base, as published, large or tiny.
        channels: C.
        frames: T; its time embeddings are made for it.
        size: pixels, a multiple of 16.

    Returns:
        The trunk, with random weights.

    Raises:
        ModelError: transformers is not installed.
    """
    # DATA.MEAN and DATA.STD of timesformer/config/defaults.py, and preprocessor_config.json of the published files
    return _trunk("Timesformer", _config(variant, channels, frames, size), KINETICS_MEAN, KINETICS_STD)


def videomae(variant: str, channels: int, frames: int, size: int) -> VideoTrunk:
    """A plain video transformer on tubes of two frames, as VideoMAE (arXiv 2203.12602) pre-trains and fine-tunes it.

    Args:
        variant: small, base, large or tiny.
        channels: C.
        frames: T, even.
        size: a multiple of 16 pixels.

    Returns:
        The trunk; errors as of `timesformer`.
    """
    # preprocessor_config.json of the published files
    return _trunk("VideoMAE", _config(variant, channels, frames, size), IMAGENET_MEAN, IMAGENET_STD)


def _config(variant: str, channels: int, frames: int, size: int) -> dict[str, int]:
    """Settings that both configurations share."""
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


def _trunk(kind: str, config: dict[str, int], mean: tuple[float, ...], std: tuple[float, ...]) -> VideoTrunk:
    """The library's classification model without its classifier: what is left are pooled features."""
    try:
        import transformers  # an optional extra
    except ImportError as error:
        raise ModelError("model.name: this model needs transformers: pip install 'epicsub[hf]'") from error
    network: Any = getattr(transformers, f"{kind}ForVideoClassification")(
        getattr(transformers, f"{kind}Config")(**config)
    )
    features = network.classifier.in_features
    network.classifier = nn.Identity()
    return VideoTrunk(
        network,
        features,
        mean,
        std,
        inputs=lambda x_BCTHW: x_BCTHW.transpose(1, 2),
        outputs=lambda output: output.logits,
    )
