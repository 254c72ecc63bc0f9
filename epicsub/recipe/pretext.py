"""`pretext` of a recipe: self-supervision by order (inspired by 1807.11293), see docs/order.md. [D] our choice."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import PAIR, Count, Section, ShareAboveZero, WholeNumber
from epicsub.recipe.yaml_tree import Problem, format_value

POLICY_ALONE = ("policy", "credit", "baseline", "negated")
ORDERS = {"temporal": 12, "spatial": 24}
"""Permutations of four chunks, an order and its reverse being one, and of 2x2 tiles."""
FEWEST_ITEMS = 24


class Pretext(Section):
    """Clips are shuffled in time and space, and the network tells how. `epicsub pretrain` reads it."""

    tasks: Literal["both", "temporal", "spatial"] = "both"
    """What is shuffled: four chunks of a clip, the tiles of its pictures, or each in half of the clips."""
    head: Literal["joint", "siamese"] = "joint"
    """joint: the trunk sees the whole shuffled clip; siamese: each piece alone (frame models)."""
    gap: Annotated[tuple[WholeNumber, ...], PAIR] = (1, 2)
    """Fewest and most frames left out between two chunks, which data.frames does not count."""
    shift: Annotated[float, Field(ge=0, le=0.25)] = 0.06
    """Largest shift of a chunk, as a share of the side, so that borders do not tell."""
    one_channel: bool = True
    """A random channel stands for all three in each chunk of colours, so that they do not tell."""
    grid: Literal[2, 3] = 2
    """Tiles along a side: 2 has 24 orders, of 3 `permutations` are chosen."""
    permutations: Annotated[int, Field(ge=12, le=2000)] | None = None
    """Orders of a 3x3 grid, far from each other; null where grid is 2."""
    tile: ShareAboveZero = 0.75
    """Side of a tile as a share of its cell's; the place in the cell is random."""
    same_spread: bool = True
    """Give each tile the same mean and spread, so that a shade over the picture does not tell."""
    groups: Annotated[int, Field(ge=2)] = 6
    """Groups of related orders, between which the policy chooses."""
    grouping: Literal["kmeans", "distance"] = "kmeans"
    """Orders of a group: near each other, or as far from the right order."""
    choice: Literal["uniform", "policy", "near_to_far", "far_to_near"] = "policy"
    """Which group half of a phase's clips are of: any (the control), the policy's choice, or a fixed course."""
    policy: Literal["bandit", "network"] = "bandit"
    """bandit: a number per group; network: a small network that sees the errors by group."""
    credit: Literal["phase", "clip"] = "phase"
    """What one action of the policy decides."""
    baseline: Literal["ema", "trend"] = "ema"
    """What a phase's gain is compared with: the running mean, or a line through the last five errors."""
    negated: bool = False
    """Reward the opposite: a control."""
    phase: Count = 100
    """Steps between two checks on the fixed items, after which the policy learns."""
    items: Annotated[int, Field(ge=FEWEST_ITEMS)] = 512
    """Fixed clips of held-out videos whose error is the reward; they stay in memory."""
    held_out: Annotated[int, Field(ge=2)] = 10
    """Every so many videos of each list one is held out."""

    @property
    def frames_skipped(self) -> int:
        """Frames read beyond data.frames, for the gaps."""
        return 3 * self.gap[1]


def check_pretext(pretext: Pretext) -> Iterator[Problem]:
    """Check that the settings of `pretext` fit each other.

    Args:
        pretext: The section.

    Yields:
        What does not fit.
    """
    if pretext.gap[0] > pretext.gap[1]:
        yield Problem("pretext.gap", f"is {format_value(pretext.gap)}, must be [fewest, most]")
    spatial, temporal = pretext.tasks != "temporal", pretext.tasks != "spatial"
    if (pretext.grid == 3) != (pretext.permutations is not None):
        text = "missing, grid 3 has 362880 orders: say how many, e.g. 100"
        if pretext.grid == 2:
            text = f"is {pretext.permutations}, but grid 2 has all its 24 orders: leave it out"
        yield Problem("pretext.permutations", text)
    least = min([ORDERS["temporal"]] * temporal + [pretext.permutations or ORDERS["spatial"]] * spatial)
    if pretext.groups > least // 2:
        yield Problem("pretext.groups", f"is {pretext.groups}, must be at most {least // 2}, two orders to a group")
    if pretext.choice != "policy":
        for name in POLICY_ALONE:
            value, default = getattr(pretext, name), Pretext.model_fields[name].default
            if value != default:
                text = f"is {format_value(value)}, but pretext.choice is {pretext.choice}: leave it out"
                yield Problem(f"pretext.{name}", text)
    if pretext.choice in ("near_to_far", "far_to_near") and pretext.grouping != "distance":
        text = f"is {pretext.grouping!r}, but pretext.choice {pretext.choice} goes by distance: write distance"
        yield Problem("pretext.grouping", text)
