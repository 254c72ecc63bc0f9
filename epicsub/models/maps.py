"""Maps of features that relations read: which models have one, and at which times. No torch, so a recipe can read it.

A map has a sixteenth of the picture's sides, whatever the model. A model without a row has none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STRIDE = 16
"""Pixels of the clip's picture per cell of the map."""


@dataclass(frozen=True, kw_only=True)
class MapRow:
    """What is known of a model's map."""

    slices: Callable[[int], int]
    """Frames of a clip to times of its map."""
    acrn: bool = False
    """The published head of ACRN is made for the model."""


_EVERY_FRAME = MapRow(slices=lambda frames: frames)
MAPS = {
    "i3d": MapRow(slices=lambda frames: -(-frames // 4)),  # Mixed_4f, after two halvings of time with SAME padding
    "i3d_r50": MapRow(slices=lambda frames: frames // 2),  # res4, after the pool of two frames
    "slowfast": MapRow(slices=lambda frames: frames // 4, acrn=True),  # res4, at the times of the slow pathway
    "x3d": _EVERY_FRAME,  # res4
    "frame_mean": _EVERY_FRAME,  # the last level of timm's `feature_info` with this stride
    "frame_lstm": _EVERY_FRAME,
    "frame_transformer": _EVERY_FRAME,
    "frame_multiscale": _EVERY_FRAME,
}
"""By `model.name`."""


def map_level(backbone: Any) -> tuple[int, int] | None:
    """Find the last level of a timm model that has a sixteenth of the picture.

    Args:
        backbone: of `frames.build_backbone`.

    Returns:
        Its number for `forward_intermediates`, and its channels; None where timm gives no such level.
    """
    if not hasattr(backbone, "forward_intermediates"):
        return None
    levels = enumerate(backbone.feature_info)
    found = [(number, int(level["num_chs"])) for number, level in levels if level["reduction"] == STRIDE]
    return found[-1] if found else None
