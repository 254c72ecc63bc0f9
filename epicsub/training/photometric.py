"""Where colours, RandAugment and erasing are done: in the workers, or, with a GPU, on it, a batch at a time.

A GPU does them beside the workers' decoding, which is what training waits for.
"""

from dataclasses import replace
from typing import TypeVar

from lightning_fabric import Fabric

from epicsub.data.batch import Batch, ClipBatch
from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.recipe import Recipe

ClipsT = TypeVar("ClipsT", bound=ClipBatch)


def photometric_of(recipe: Recipe) -> PhotometricAugmentation:
    """What changes in the recipe's training clips once they are cut; nothing where it reads features."""
    augment = recipe.data.augment
    if augment is None:
        return PhotometricAugmentation()
    drawn = augment.rand_augment
    return PhotometricAugmentation(
        augment.color_jitter, RandAugment(drawn.operations, drawn.magnitude) if drawn else None, augment.erase
    )


def augments_on_device(fabric: Fabric) -> bool:
    """Whether the workers leave them to the device."""
    return fabric.device.type == "cuda"


def to_device(fabric: Fabric, recipe: Recipe, batch: Batch) -> Batch:
    """Move a batch to the device and apply the augmentation that the workers left to it."""
    moved: Batch = fabric.to_device(batch)
    augment = photometric_of(recipe)
    return Batch(_augmented(augment, moved.source), moved.target and _augmented(augment, moved.target))


def _augmented(augment: PhotometricAugmentation, part: ClipsT) -> ClipsT:
    if part.photometric_B4 is None:
        return part
    return replace(part, clips=augment.apply_batch(part.clips, part.photometric_B4), photometric_B4=None)
