"""Where colours, RandAugment and erasing are done: in the workers, or, with a GPU, on it, a batch at a time.

A GPU does them beside the workers' decoding, which is what training waits for.
"""

from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from epicsub.data.photometric import PhotometricAugmentation, RandAugment
from epicsub.recipe import Recipe


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


def to_device(fabric: Fabric, recipe: Recipe, batch: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """A batch on the device, with what the workers left done."""
    drawn = {domain: part["photometric"] for domain, part in batch.items() if "photometric" in part}
    bare = {
        domain: {name: value for name, value in part.items() if name != "photometric"} for domain, part in batch.items()
    }
    moved = fabric.to_device(bare)
    for domain, drawn_BN in drawn.items():
        clips: dict[str, Tensor] = moved[domain]["clips"]
        moved[domain]["clips"] = photometric_of(recipe).apply_batch(clips, drawn_BN)
    return moved
