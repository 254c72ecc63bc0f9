"""What is done to a whole batch on the device: photometric augmentation, MixUp and CutMix.

MixUp (arXiv 1710.09412) and CutMix (arXiv 1905.04899) are for clips of several modalities and two heads. torchvision's
transforms take one picture tensor and one label; here all modalities of a clip share the draw, and every label is
mixed. Partners, the Beta draw and the box are torchvision's: the batch moved on by one, one share per batch, a
box with a side of sqrt(1 - share) around a uniform centre, cut at the border.

Shapes: B clips, C channels, T frames, H, W pixels.
"""

from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.recipe import Recipe

ClipsT = TypeVar("ClipsT", bound=ClipBatch)


class Mix(NamedTuple):
    """One draw: `share` of each clip stays; CutMix replaces the box, given as shares of the picture's sides."""

    share: float
    box: tuple[float, float, float, float] | None
    """Top, bottom, left, right, 0 to 1; None is MixUp."""


def draw_mix(mixup: float, cutmix: float, probability: float, generator: torch.Generator) -> Mix | None:
    """Draw what happens to a batch.

    Args:
        mixup: alpha of MixUp, 0 for never.
        cutmix: alpha of CutMix, 0 for never; with both, each comes half the time.
        probability: that a batch is mixed at all.
        generator: a CPU generator.

    Returns:
        The draw, or None to leave the batch as it is.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    random = np.random.default_rng(seed)
    mixed, first = random.random() < probability, random.random() < 0.5
    if not mixed:
        return None
    if not cutmix or (mixup and first):
        return Mix(float(random.beta(mixup, mixup)), None)
    share = float(random.beta(cutmix, cutmix))
    middle_y, middle_x = random.random(2)
    half = 0.5 * np.sqrt(1 - share)
    box = (middle_y - half, middle_y + half, middle_x - half, middle_x + half)
    return Mix(share, tuple(float(np.clip(side, 0, 1)) for side in box))  # type: ignore[arg-type]


def mix_batch(source: LabelledClipBatch, mix: Mix) -> LabelledClipBatch:
    """Mix every clip of a batch with the one before it.

    Args:
        source: labelled clips {modality: (B, C, T, H, W)}.
        mix: what was drawn.

    Returns:
        Mixed clips, with the share of their own labels and the labels of their partners.
    """
    share = mix.share
    clips = {}
    for modality, clip_BCTHW in source.clips.items():
        partner_BCTHW = clip_BCTHW.roll(1, 0)
        if mix.box is None:
            clips[modality] = share * clip_BCTHW.float() + (1 - share) * partner_BCTHW.float()
        else:
            top, bottom, left, right = pixels_of(mix.box, clip_BCTHW.shape[-2], clip_BCTHW.shape[-1])
            clips[modality] = clip_BCTHW.clone()
            clips[modality][..., top:bottom, left:right] = partner_BCTHW[..., top:bottom, left:right]
    if mix.box is not None:
        height, width = next(iter(clips.values())).shape[-2:]
        top, bottom, left, right = pixels_of(mix.box, height, width)
        share = 1 - (bottom - top) * (right - left) / (height * width)  # of the pixels that were replaced
    labels = source.labels
    share_B = torch.full((len(labels.verb_B),), share, device=labels.verb_B.device)
    partner = Labels(verb_B=labels.verb_B.roll(1, 0), noun_B=labels.noun_B.roll(1, 0))
    return replace(source, clips=clips, share_B=share_B, partner=partner)


def pixels_of(box: tuple[float, float, float, float], height: int, width: int) -> tuple[int, int, int, int]:
    """Convert a box to whole pixels.

    Args:
        box: top, bottom, left, right, as shares of the sides.
        height: of the picture, in pixels.
        width: of the picture.

    Returns:
        Top, bottom, left, right.
    """
    top, bottom, left, right = box
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def photometric_of(recipe: Recipe) -> PhotometricAugmentation:
    """Build the photometric augmentation of the recipe's training clips.

    Args:
        recipe: with `data.augment`.

    Returns:
        An augmentation; one that changes nothing where the recipe reads features.
    """
    augment = recipe.data.augment
    if augment is None:
        return PhotometricAugmentation()
    drawn = augment.rand_augment
    return PhotometricAugmentation(
        augment.color_jitter, RandAugment(drawn.operations, drawn.magnitude) if drawn else None, augment.erase
    )


def augments_on_device(fabric: Fabric) -> bool:
    """Tell where photometric augmentation is done: a GPU does it while the workers decode.

    Args:
        fabric: with the device.

    Returns:
        False where the workers do it.
    """
    return bool(fabric.device.type == "cuda")


def to_device(fabric: Fabric, recipe: Recipe, batch: Batch) -> Batch:
    """Move a batch to the device and apply the augmentation that the workers left to it.

    Args:
        fabric: with the device.
        recipe: with the augmentation.
        batch: from `training_loader`.

    Returns:
        The batch on the device.
    """
    moved: Batch = fabric.to_device(batch)
    augment = photometric_of(recipe)
    target = batch.target and moved.target and _augmented(augment, moved.target, batch.target.photometric_B4)
    return replace(moved, source=_augmented(augment, moved.source, batch.source.photometric_B4), target=target)


def _augmented(augment: PhotometricAugmentation, part: ClipsT, drawn_B4: Tensor | None) -> ClipsT:
    """`drawn_B4` is the host's own: read back from a device, the host would wait for it."""
    if drawn_B4 is None:
        return part
    return replace(part, clips=augment.apply_batch(part.clips, drawn_B4), photometric_B4=None)
