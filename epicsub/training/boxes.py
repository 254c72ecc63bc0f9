"""Hands and objects of a recipe: what fills the slots of its clips, what is missing, and how many clips have any."""

from epicsub.data.boxes.slots import BoxSource, SlotSettings
from epicsub.data.root import DataRoot
from epicsub.recipe import Recipe


def box_source_of(recipe: Recipe, root: DataRoot) -> BoxSource | None:
    """Open what fills the slots of a recipe's clips.

    Args:
        recipe: with `data.boxes`.
        root: the data root.

    Returns:
        None where the recipe has no boxes.
    """
    boxes = recipe.data.boxes
    return BoxSource(root.path, SlotSettings(**dict(boxes))) if boxes else None
