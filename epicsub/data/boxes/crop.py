"""The part of the picture around the hands and what they hold, as a second stream of pixels.

Shape legend: T slices of time, S slots, E entries of a slot; of pixels F frames, H, W, C.
"""

import numpy as np
import torch

from epicsub.data.boxes.slots import slots_present
from epicsub.data.transforms import Box, Move, show
from epicsub.modality import HAND_CROP
from epicsub.slots import HANDS, HELD

CONTEXT = 1.25
"""The crop's side over the longer side of what hands and held objects cover."""
LEAST_SIDE = 0.35
"""Of the picture's short side: a single hand far away is not blown up to nothing but pixels."""


def hand_box(slots_TSE: np.ndarray, height: int, width: int) -> Box | None:
    """Find the square around the hands of a clip and what they hold.

    Args:
        slots_TSE: boxes as shares of the whole picture.
        height: of the picture, in pixels.
        width: of the picture.

    Returns:
        A square of pixels inside the picture; None for a clip without hands.
    """
    if not slots_present(slots_TSE)[:, HANDS].any():
        return None
    corners = slots_TSE[:, [*HANDS, *HELD]][slots_present(slots_TSE)[:, [*HANDS, *HELD]]][:, :4]
    low, high = corners[:, :2].min(axis=0) * (width, height), corners[:, 2:].max(axis=0) * (width, height)
    short = min(height, width)
    side = float(np.clip(CONTEXT * (high - low).max(), LEAST_SIDE * short, short))
    left, top = np.clip((low + high - side) / 2, 0, (width - side, height - side)).tolist()
    return Box(top / height, left / width, side / height, side / width)


def hand_crop(clip_FHWC: torch.Tensor, slots_TSE: np.ndarray, mirrored: bool, size: int) -> torch.Tensor:
    """Show the hands of a clip.

    Args:
        clip_FHWC: uint8 pictures.
        slots_TSE: boxes as shares of the whole picture.
        mirrored: exchange left and right.
        size: pixels of each side of the result.

    Returns:
        uint8 (C, F, size, size); the fill of the modality throughout for a clip without hands, because the whole
        picture in its place would pass off missing data as plausible input.
    """
    box = hand_box(slots_TSE, *clip_FHWC.shape[1:3])
    if box is None:
        fill_C = torch.tensor(HAND_CROP.fill, dtype=torch.uint8)
        return fill_C.expand(len(clip_FHWC), size, size, -1).contiguous().permute(3, 0, 1, 2)
    return show(clip_FHWC, HAND_CROP.name, Move(box, mirrored), size)
