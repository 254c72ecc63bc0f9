"""Resizing, cropping and mirroring, on uint8 throughout: the model normalises. Colours are in `photometric`.

Clips come as (T, H, W, C) and leave as (C, T, S, S) views of memory in T, S, S, C order, which is what torch calls
channels_last_3d: neither resizing nor batching nor the model's convolutions have to reorder it.

A crop is a box in fractions of the picture, so that modalities of different size (flow is often stored smaller) show
the same place. It is cut out before resizing: the picture outside is never computed.

Shape legend: T frames, H height, W width, C channels (rgb 3, flow 2: u, v), S side of the square crop, V crops.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from epicsub.modality import MODALITIES

CROPS = ("scale_jitter", "random_resized")
# Corners, centre, edge middles and the four points between, in quarters of the free space: the 13 offsets of TSN's
# GroupMultiScaleCrop (Wang et al., arXiv 1608.00859, section 3.2, with its code's `more_fix_crop`).
QUARTERS = ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3))
ASPECTS = (3 / 4, 4 / 3)


class Box(NamedTuple):
    """Part of a picture, in fractions of its height and width."""

    top: float
    left: float
    height: float
    width: float


class Move(NamedTuple):
    """Which part of the picture a clip shows."""

    cut: Box
    mirrored: bool


class TrainTransform:
    """One random crop and mirroring for all frames and modalities of a clip."""

    def __init__(
        self,
        short_side: int,
        size: int,
        crop: str,
        scales: Sequence[float] | None = None,
        area: Sequence[float] | None = None,
        flip: float = 0.5,
    ) -> None:
        """Settings of the augmentation.

        Args:
            short_side: pixels of the short side that evaluation crops `size` from; training's crops are shares of
                the picture, cut straight from the stored one, so it only bounds `size` here.
            size: pixels of the square crop.
            crop: "scale_jitter", TSN's 13 offsets (height and width may differ by one step of the scales); or
                "random_resized", sides between 3:4 and 4:3.
            scales: sides as shares of the short side, scale_jitter only.
            area: lowest and highest share of the picture, random_resized only.
            flip: probability of mirroring.

        Raises:
            ValueError: a setting is missing or out of range.
        """
        if crop not in CROPS or not 1 <= size <= short_side:
            raise ValueError(f"crop {crop!r} of size {size} from {short_side}: one of {CROPS}, size up to short_side")
        if crop == "scale_jitter" and not (scales and all(0 < scale <= 1 for scale in scales)):
            raise ValueError(f"scale_jitter with scales {scales}: numbers over 0 up to 1")
        if crop == "random_resized" and not (area and len(area) == 2 and 0 < area[0] <= area[1] <= 1):
            raise ValueError(f"random_resized with area {area}: lowest and highest share, over 0 up to 1")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip {flip}: 0 to 1")
        self.size = size
        self.crop = crop
        self.scales = sorted(scales or (), reverse=True)
        self.area = tuple(area or ())
        self.flip = flip

    def __call__(self, clips: Mapping[str, torch.Tensor], generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """Crop, resize and mirror a clip; the picture's shape is taken from the first modality.

        Args:
            clips: uint8 (T, H, W, C) per modality.
            generator: source of all randomness.

        Returns:
            uint8 (C, T, size, size) per modality.
        """
        height, width = next(iter(clips.values())).shape[1:3]
        return self.apply(clips, self.draw(height, width, generator))

    def draw(self, height: int, width: int, generator: np.random.Generator) -> Move:
        """Draw what a clip shows.

        Args:
            height: of the picture, in pixels.
            width: of the picture.
            generator: source of all randomness.

        Returns:
            A crop, in fractions that need not be whole pixels, and whether it is mirrored.
        """
        if self.crop == "scale_jitter":
            box = _scale_jitter_box(height, width, self.scales, generator)
        else:
            box = _random_resized_box(height, width, (self.area[0], self.area[1]), generator)
        return Move(box, bool(generator.random() < self.flip))

    def apply(self, clips: Mapping[str, torch.Tensor], move: Move) -> dict[str, torch.Tensor]:
        """Crop, resize and mirror a clip as it was drawn.

        Args:
            clips: uint8 (T, H, W, C) per modality.
            move: what `draw` has drawn.

        Returns:
            uint8 (C, T, size, size) per modality.
        """
        return {modality: show(clip_THWC, modality, move, self.size) for modality, clip_THWC in clips.items()}


def show(clip_THWC: torch.Tensor, modality: str, move: Move, size: int) -> torch.Tensor:
    """Cut a part out of a clip, resize and mirror it.

    Args:
        clip_THWC: uint8 (T, H, W, C).
        modality: name, for its mirror image.
        move: which part, mirrored or not.
        size: pixels of each side of the result.

    Returns:
        uint8 (C, T, size, size).
    """
    clip_TSSC = _resize(_cut(clip_THWC, move.cut), size, size)
    return (_mirror(clip_TSSC, modality) if move.mirrored else clip_TSSC).permute(3, 0, 1, 2)


def _scale_jitter_box(height: int, width: int, scales: Sequence[float], generator: np.random.Generator) -> Box:
    """A box with sides of `scales` (falling) x the short side, neighbours in the list at most, at one of 13 offsets."""
    pairs = [(i, j) for i in range(len(scales)) for j in range(len(scales)) if abs(i - j) <= 1]
    i, j = pairs[generator.integers(len(pairs))]
    down, right = QUARTERS[generator.integers(len(QUARTERS))]
    side = min(height, width)
    box_height, box_width = scales[i] * side / height, scales[j] * side / width
    return Box(down / 4 * (1 - box_height), right / 4 * (1 - box_width), box_height, box_width)


def _random_resized_box(height: int, width: int, area: tuple[float, float], generator: np.random.Generator) -> Box:
    """A box of a share of the picture drawn from `area`, sides 3:4 to 4:3; the middle square if ten do not fit."""
    for _ in range(10):
        pixels = generator.uniform(area[0], area[1]) * height * width
        aspect = math.exp(generator.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        box_height, box_width = math.sqrt(pixels / aspect) / height, math.sqrt(pixels * aspect) / width
        if box_height <= 1 and box_width <= 1:
            top, left = generator.random() * (1 - box_height), generator.random() * (1 - box_width)
            return Box(top, left, box_height, box_width)
    side = min(height, width)
    return Box((1 - side / height) / 2, (1 - side / width) / 2, side / height, side / width)


def _pixels_of(box: Box, height: int, width: int) -> tuple[int, int, int, int]:
    """The box's whole pixels, at least one: top, left, height, width."""
    box_height, box_width = max(1, round(box.height * height)), max(1, round(box.width * width))
    top, left = min(round(box.top * height), height - box_height), min(round(box.left * width), width - box_width)
    return top, left, box_height, box_width


def whole_pixels(box: Box, height: int, width: int) -> Box:
    """Give what is really cut out of a picture for a box.

    Args:
        box: any part of a picture.
        height: of the picture, in pixels.
        width: of the picture.

    Returns:
        Its whole pixels, at least one, in fractions of the picture.
    """
    top, left, box_height, box_width = _pixels_of(box, height, width)
    return Box(top / height, left / width, box_height / height, box_width / width)


def _cut(clip_THWC: torch.Tensor, box: Box) -> torch.Tensor:
    """The box's whole pixels: a view (T, h, w, C)."""
    top, left, height, width = _pixels_of(box, *clip_THWC.shape[1:3])
    return clip_THWC[:, top : top + height, left : left + width]


def _resize(clip_THWC: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(T, height, width, C), bilinear with antialiasing on uint8; the clip itself if it has that size.

    torch's uint8 kernel on channels-last memory is 3 to 9 times as fast as on planes; OpenCV's area filter is slower
    still, and its plain bilinear one aliases.
    """
    if tuple(clip_THWC.shape[1:3]) == (height, width):
        return clip_THWC
    clip_TCHW = clip_THWC.permute(0, 3, 1, 2)
    return F.interpolate(clip_TCHW, (height, width), mode="bilinear", antialias=True).permute(0, 2, 3, 1)


def _resize_short_side(clip_THWC: torch.Tensor, short_side: int) -> torch.Tensor:
    """(T, h, w, C) with a shorter side of `short_side` pixels, the longer one in proportion, rounded."""
    height, width = clip_THWC.shape[1:3]
    return _resize(clip_THWC, *_resized_sides(height, width, short_side))


def _resized_sides(height: int, width: int, short_side: int) -> tuple[int, int]:
    scale = short_side / min(height, width)
    return round(height * scale), round(width * scale)


def _corners_of_crops(height: int, width: int, size: int, crops: int) -> list[tuple[int, int]]:
    """Top and left of squares at the start, middle and end of the longer side, in the middle of the other; or one."""
    corners = []
    for third in (0, 1, 2) if crops == 3 else (1,):
        top = third * (height - size) // 2 if height > width else (height - size) // 2
        left = third * (width - size) // 2 if width >= height else (width - size) // 2
        corners.append((top, left))
    return corners


def _three_crops(clip_THWC: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Views (T, size, size, C)."""
    height, width = clip_THWC.shape[1:3]
    corners = _corners_of_crops(height, width, size, 3)
    return [clip_THWC[:, top : top + size, left : left + size] for top, left in corners]


def view_moves(height: int, width: int, short_side: int, size: int, crops: int, flip: bool) -> list[Move]:
    """Give what each of the spatial views of `view_crops` shows.

    Args:
        height: of the picture, in pixels.
        width: of the picture.
        short_side: as of `view_crops`, like the next three.
        size: pixels.
        crops: 1 or 3.
        flip: with mirror images.

    Returns:
        V of them, in the order of the views.
    """
    tall, wide = _resized_sides(height, width, short_side)
    cuts = [
        Box(top / tall, left / wide, size / tall, size / wide)
        for top, left in _corners_of_crops(tall, wide, size, crops)
    ]
    return [Move(cut, mirrored) for cut in cuts for mirrored in ((False, True) if flip else (False,))]


def view_crops(
    clip_THWC: torch.Tensor, modality: str, short_side: int, size: int, crops: int, flip: bool
) -> torch.Tensor:
    """Cut the spatial views of evaluation out of a clip.

    Args:
        clip_THWC: uint8 (T, H, W, C).
        modality: name, for its mirror image.
        short_side: pixels to which the shorter side is resized first.
        size: pixels of the crops' side.
        crops: 1 (middle) or 3.
        flip: add the mirror image of each crop.

    Returns:
        uint8 (V, C, T, size, size), crop by crop, each followed by its mirror image.
    """
    resized = _resize_short_side(clip_THWC, short_side)
    views = []
    for crop in _three_crops(resized, size)[slice(None) if crops == 3 else slice(1, 2)]:
        views += [crop, _mirror(crop, modality)] if flip else [crop]
    return torch.stack(views).permute(0, 4, 1, 2, 3)


def _mirror(clip_THWC: torch.Tensor, modality: str) -> torch.Tensor:
    """A copy with left and right exchanged: x -> 255 - x in channels of motion to the right (127.5 stands for 0)."""
    mirrored = clip_THWC.flip(2)
    for channel in MODALITIES[modality].mirror_negates:
        mirrored[..., channel] = 255 - mirrored[..., channel]
    return mirrored
