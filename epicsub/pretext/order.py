"""The task of order: which permutation was drawn, what a network says, and what it costs.

Shapes: B clips, D features, n pieces, N permutations, V fixed items.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.pretext.permutations import group_permutations, spatial_permutations, temporal_permutations
from epicsub.pretext.policy import CHOSEN
from epicsub.pretext.shuffle import (
    ShuffleSettings,
    SpatialDraw,
    TemporalDraw,
    cut_chunks,
    cut_tiles,
    draw_spatial,
    draw_temporal,
    join_chunks,
    join_tiles,
    reorder,
)

JOINT_HIDDEN, PAIR_HIDDEN = 256, 512
TaskName = Literal["temporal", "spatial"]
HeadName = Literal["joint", "siamese"]


@dataclass(frozen=True, eq=False)
class OrderTask:
    """A set of permutations in groups, of chunks in time or of tiles in space."""

    name: TaskName
    orders_Nn: Tensor  # noqa: N815
    """The set."""
    group_N: Tensor  # noqa: N815
    """Group of each permutation."""
    groups: int

    @property
    def mirrored(self) -> bool:
        """True if an order and its reverse are one class."""
        return self.name == "temporal"


def make_task(name: TaskName, grid: int, count: int, groups: int, grouping: str, seed: int) -> OrderTask:
    """Make the permutations of a task and their groups.

    Args:
        name: temporal or spatial.
        grid: tiles along a side.
        count: permutations of a grid larger than 2.
        groups: G.
        grouping: "kmeans" or "distance".
        seed: of all draws.

    Returns:
        The task.
    """
    orders_Nn = temporal_permutations() if name == "temporal" else spatial_permutations(grid, count, seed)
    group_N = group_permutations(orders_Nn, groups, grouping, seed, name == "temporal")
    return OrderTask(name, torch.from_numpy(orders_Nn), torch.from_numpy(group_N), groups)


@dataclass(frozen=True)
class OrderDraw:
    """What is drawn for B clips of a task."""

    label_B: Tensor  # noqa: N815
    """The permutation."""
    order_Bn: Tensor  # noqa: N815
    """As it is applied: reversed half of the time where a reverse is the same class."""
    cut: TemporalDraw | SpatialDraw

    def rows(self, chosen: slice) -> "OrderDraw":
        """Take some of the clips.

        Args:
            chosen: their positions.

        Returns:
            Their draw.
        """
        cut = type(self.cut)(*(tensor[chosen] for tensor in vars(self.cut).values()))
        return OrderDraw(self.label_B[chosen], self.order_Bn[chosen], cut)


def draw_orders(task: OrderTask, label_B: Tensor, settings: ShuffleSettings, generator: torch.Generator) -> OrderDraw:
    """Draw how clips of given permutations are cut and, where it is the same class, whether reversed.

    Args:
        task: of the permutations.
        label_B: permutation of each clip.
        settings: of the shuffling.
        generator: a CPU generator.

    Returns:
        The draw.
    """
    order_Bn = task.orders_Nn[label_B]
    if task.mirrored:
        reversed_B = torch.rand(len(label_B), generator=generator) < 0.5
        order_Bn = torch.where(reversed_B[:, None], order_Bn.flip(1), order_Bn)
        return OrderDraw(label_B, order_Bn, draw_temporal(len(label_B), settings, generator))
    return OrderDraw(label_B, order_Bn, draw_spatial(len(label_B), settings, generator))


def draw_labels(task: OrderTask, count: int, weight_G: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw permutations: half any, half of a group drawn by weight.

    Args:
        task: of the permutations.
        count: B.
        weight_G: of each group, sum 1; all zero for any permutation throughout.
        generator: a CPU generator.

    Returns:
        (B,) permutations, and (G,) how many of the chosen half were of each group.
    """
    label_B = torch.randint(len(task.orders_Nn), (count,), generator=generator)
    drawn_G = torch.zeros(task.groups)
    if not bool(weight_G.any()):
        return label_B, drawn_G
    chosen_B = torch.rand(count, generator=generator) < CHOSEN
    group_B = torch.multinomial(weight_G, count, replacement=True, generator=generator)
    place_B = torch.rand(count, generator=generator)
    for row in chosen_B.nonzero()[:, 0].tolist():
        members = (task.group_N == group_B[row]).nonzero()[:, 0]
        label_B[row] = members[int(place_B[row] * len(members))]
        drawn_G[group_B[row]] += 1
    return label_B, drawn_G


def shuffled_pieces(
    task: OrderTask, clip_BCRHW: Tensor, draw: OrderDraw, settings: ShuffleSettings, is_color: bool
) -> Tensor:
    """Cut clips into pieces and put them into the drawn order.

    Args:
        task: temporal or spatial.
        clip_BCRHW: clips as they are read, 0 to 255.
        draw: of `draw_orders`.
        settings: of the shuffling.
        is_color: whether the channels are colours.

    Returns:
        (B, n, C, T, H, W): chunks of T / n frames, or tiles of a part of the side.
    """
    if isinstance(draw.cut, TemporalDraw):
        pieces = cut_chunks(clip_BCRHW, settings, draw.cut, is_color)
    else:
        pieces = cut_tiles(clip_BCRHW[:, :, : settings.frames], settings, draw.cut)
    return reorder(pieces, draw.order_Bn)


class JointHead(nn.Module):
    """Tells the order from the features of a whole shuffled clip.

    Args:
        dim: D.
        classes: N.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(dim, JOINT_HIDDEN), nn.Linear(JOINT_HIDDEN, classes)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Classify.

        Args:
            features_BD: of clips.

        Returns:
            (B, N) logits.
        """
        logits_BN: Tensor = self.output(F.relu(self.hidden(features_BD)))
        return logits_BN


class SiameseHead(nn.Module):
    """Tells the order from pairs of pieces that the trunk has seen alone [C].

    Args:
        dim: D of a piece.
        pieces: n.
        classes: N.
    """

    def __init__(self, dim: int, pieces: int, classes: int) -> None:
        super().__init__()
        self.pairs = list(combinations(range(pieces), 2))
        self.hidden = nn.Linear(2 * dim, PAIR_HIDDEN)
        self.output = nn.Linear(PAIR_HIDDEN * len(self.pairs), classes)

    def forward(self, features_BnD: Tensor) -> Tensor:
        """Classify.

        Args:
            features_BnD: of the pieces, in the shuffled order.

        Returns:
            (B, N) logits.
        """
        pair_Bp2D = torch.stack([features_BnD[:, list(pair)].flatten(1) for pair in self.pairs], dim=1)
        logits_BN: Tensor = self.output(F.relu(self.hidden(pair_Bp2D)).flatten(1))
        return logits_BN


def make_head(task: OrderTask, head: HeadName, dim: int) -> nn.Module:
    """Make the head of a task.

    Args:
        task: says how many pieces and permutations.
        head: joint or siamese.
        dim: D of what it reads.

    Returns:
        The module.
    """
    classes, pieces = task.orders_Nn.shape
    return JointHead(dim, classes) if head == "joint" else SiameseHead(dim, pieces, classes)


def whole_clip(task: OrderTask, piece_BnCTHW: Tensor, side: int) -> Tensor:
    """Join shuffled pieces into a clip, for the joint head.

    Args:
        task: temporal or spatial.
        piece_BnCTHW: of `shuffled_pieces`.
        side: pixels of the clip.

    Returns:
        (B, C, T, H, W).
    """
    return join_chunks(piece_BnCTHW) if task.name == "temporal" else join_tiles(piece_BnCTHW, side)


def order_loss(logits_BN: Tensor, label_B: Tensor, probability_N: Tensor) -> Tensor:
    """Cross-entropy that a chosen group does not shift: log(N q) is added to the logits while training.

    Without it every choice but the even one biases the network to the classes it shows more often, and is punished for
    it at the checks, where all classes come equally often.

    Args:
        logits_BN: of the head.
        label_B: the drawn permutations.
        probability_N: q, how often each was drawn; even probabilities give plain cross-entropy.

    Returns:
        Scalar.
    """
    prior_N = (len(probability_N) * probability_N).log().to(logits_BN)
    return F.cross_entropy(logits_BN + prior_N, label_B)


def even_labels(task: OrderTask, count: int, generator: torch.Generator) -> Tensor:
    """Draw the permutations of fixed items, as even as can be.

    Args:
        task: of the permutations.
        count: V.
        generator: a CPU generator.

    Returns:
        (V,) in a random order.
    """
    label_V = torch.arange(count) % len(task.orders_Nn)
    return label_V[torch.randperm(count, generator=generator)]
