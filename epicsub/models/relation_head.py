"""Relations of hands and objects with the scene: a head on the trunk's own map, added to the global heads' logits.

ACRN (Sun et al., "Actor-Centric Relation Network", ECCV 2018, arXiv 1807.10982) pairs the feature of an actor's box
with every cell of the scene. Here the actors are the hands and what they hold, from boxes that come with the clips. [C]
marks mmaction2's ACRN on SlowFast, [D] our own choice.

- `RelationRows` [D]: a row per slot that has a box, z = Wc mean_t(map) + Wa actor + slot + geometry, which is the 1x1
  convolution of the concatenation without building it; two batch norms with a 3x3 convolution between; spatial maximum.
- `AcrnRows` [C]: the published head. A slot's one box is that of the slice nearest the middle [D], since AVA has boxes
  of one frame.
- The verb is read from hands and what they hold, the noun from what is held and other objects, else from the hands [D].
- Without a box there is no plausible one in its place: the logits are those of the global heads to the bit.

Shapes: B clips, T times of the map, S slots, C channels, H, W cells, D units of a row, K rows, V verbs, N nouns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.modality import HAND_REGIONS, OBJECT_REGIONS, RGB
from epicsub.models.heads import Classes, MaskedLinear
from epicsub.models.regions import pool_regions
from epicsub.slots import HANDS, HELD, OTHERS, SLOTS, STATES, Slots

GEOMETRY = 4 + 1 + len(STATES) + 1
"""Corners, score, state, share of the slices that have the box."""


@dataclass(frozen=True, kw_only=True)
class Relations:
    """Settings of a model's relations."""

    stream: str = RGB.name
    """Modality whose map is read."""
    head: str = "relations"
    """relations or acrn."""
    hidden: int = 256
    """D of `RelationRows`."""
    drop: float = 0.1
    """Probability that a training clip is shown without its boxes, which keeps the global heads trained."""
    dropout: float = 0.5
    """Probability of dropping a unit before the relations' verb and noun heads."""


class Related(NamedTuple):
    """What the relations of a batch say."""

    verb_logits_BV: Tensor  # noqa: N815
    """To be added to the global logits where `verb_B`."""
    noun_logits_BN: Tensor  # noqa: N815
    verb_B: Tensor  # noqa: N815
    """bool: whether a slot says anything of the verb."""
    noun_B: Tensor  # noqa: N815
    rows_BSD: Tensor  # noqa: N815
    """Zero where a slot has no box."""
    present_BS: Tensor  # noqa: N815
    """bool."""
    verb_weights_BS: Tensor  # noqa: N815
    """Attention over the slots: adds up to 1, or 0 where no slot says anything."""
    noun_weights_BS: Tensor  # noqa: N815

    def added_to(self, verb_BV: Tensor, noun_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Add to global logits, which stay as they are to the bit where no slot says anything.

        Args:
            verb_BV: of the global heads.
            noun_BN: of the global heads.

        Returns:
            (B, V) and (B, N).
        """
        return (
            torch.where(self.verb_B[:, None], verb_BV + self.verb_logits_BV, verb_BV),
            torch.where(self.noun_B[:, None], noun_BN + self.noun_logits_BN, noun_BN),
        )

    def regions(self) -> dict[str, Tensor]:
        """The mean row of the hands, and of all objects, each with a last entry that is 1 where there is one.

        Returns:
            (B, D + 1) for the modalities of regions; zeros where there is none.
        """
        out = {}
        for name, slots in {HAND_REGIONS.name: HANDS, OBJECT_REGIONS.name: (*HELD, *OTHERS)}.items():
            present = self.present_BS[:, list(slots), None].to(self.rows_BSD.dtype)
            count = present.sum(dim=1)
            mean = (self.rows_BSD[:, list(slots)] * present).sum(dim=1) / count.clamp(min=1)
            out[name] = torch.cat([mean, count.clamp(max=1)], dim=1)
        return out


class RelationRows(nn.Module):
    """Rows of our relations.

    Args:
        channels: C of the map.
        hidden: D.
    """

    bins = 7

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.num_features = hidden
        self.context = nn.Conv2d(channels, hidden, 1, bias=False)
        self.actor = nn.Linear(channels, hidden, bias=False)
        self.slot = nn.Parameter(torch.zeros(len(SLOTS), hidden))
        nn.init.trunc_normal_(self.slot, std=0.02)
        self.geometry = nn.Sequential(nn.Linear(GEOMETRY, 64), nn.ReLU(), nn.Linear(64, hidden))
        self.norm1, self.norm2 = nn.BatchNorm2d(hidden), nn.BatchNorm2d(hidden)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1, bias=False)

    def forward(self, map_BCTHW: Tensor, slots: Slots, picture: tuple[int, int], chosen_K: Tensor) -> Tensor:
        """Relate slots with the scene.

        Args:
            map_BCTHW: the trunk's.
            slots: of the same times.
            picture: height and width of the clips, in pixels.
            chosen_K: places among the B * S slots to compute rows of.

        Returns:
            (K, D).
        """
        z_KDHW = self.pairs(map_BCTHW, slots, picture).flatten(0, 1)[chosen_K]
        y_KDHW = F.relu(self.norm2(self.conv(F.relu(self.norm1(z_KDHW)))))
        return y_KDHW.amax(dim=(2, 3))

    def pairs(self, map_BCTHW: Tensor, slots: Slots, picture: tuple[int, int]) -> Tensor:
        """Every slot paired with every cell of the scene.

        Args:
            map_BCTHW: as of `forward`, like the rest.
            slots: of the same times.
            picture: in pixels.

        Returns:
            z, (B, S, D, H, W).
        """
        pooled_BTSC = pool_regions(map_BCTHW, slots.corners_BTS4, picture, self.bins).amax(dim=(-2, -1))
        actor_BSC = mean_of_present(pooled_BTSC, slots.present_BTS)
        of_slot_BSD = self.actor(actor_BSC) + self.slot + self.geometry(geometry_of(slots).to(actor_BSC.dtype))
        z_BSDHW: Tensor = self.context(map_BCTHW.mean(dim=2))[:, None] + of_slot_BSD[..., None, None]
        return z_BSDHW


def geometry_of(slots: Slots) -> Tensor:
    """Where a slot's box is over the clip: means over the slices that have it, and the share of those.

    Args:
        slots: of a batch.

    Returns:
        (B, S, `GEOMETRY`).
    """
    entries_BTSE = torch.cat([slots.corners_BTS4, slots.score_BTS[..., None], slots.state_BTS5], dim=-1)
    share_BS = slots.present_BTS.to(entries_BTSE.dtype).mean(dim=1)
    return torch.cat([mean_of_present(entries_BTSE, slots.present_BTS), share_BS[..., None]], dim=-1)


def mean_of_present(x_BTSE: Tensor, present_BTS: Tensor) -> Tensor:
    """The mean over the slices that have a box.

    Args:
        x_BTSE: of each slot and slice.
        present_BTS: bool.

    Returns:
        (B, S, E); zeros for a slot without any.
    """
    count_BS = present_BTS.sum(dim=1).clamp(min=1)
    return x_BTSE.masked_fill(~present_BTS[..., None], 0.0).sum(dim=1) / count_BS[..., None].to(x_BTSE.dtype)


class AcrnRows(nn.Module):
    """Rows of the published head: the box's maximum on every cell, two convolutions, spatial maximum [C].

    Args:
        channels: C of the map, and D.
    """

    bins = 8

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.num_features = channels
        self.conv1 = nn.Conv3d(2 * channels, channels, 1, bias=False)
        self.conv2 = nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.bn1, self.bn2 = nn.BatchNorm3d(channels), nn.BatchNorm3d(channels)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, map_BCTHW: Tensor, slots: Slots, picture: tuple[int, int], chosen_K: Tensor) -> Tensor:
        """Relate slots with the scene, as `RelationRows` does.

        Args:
            map_BCTHW: the trunk's.
            slots: of the same times.
            picture: in pixels.
            chosen_K: places among the B * S slots.

        Returns:
            (K, D).
        """
        context_BC1HW = map_BCTHW.mean(dim=2, keepdim=True)
        key_B1S4 = key_corners(slots)[:, None]
        actor_BSC = pool_regions(context_BC1HW, key_B1S4, picture, self.bins, samples=0)[:, 0].amax(dim=(-2, -1))
        of_actor, of_context = self.conv1.weight.chunk(2, dim=1)  # the tile comes first in the concatenation
        scene_BD1HW = F.conv3d(context_BC1HW, of_context)
        tiled_BSD = F.linear(actor_BSC, of_actor.flatten(1))
        pairs_BSD1HW = scene_BD1HW[:, None] + tiled_BSD[..., None, None, None]
        y_KD1HW = F.relu(self.bn1(pairs_BSD1HW.flatten(0, 1)[chosen_K]))
        return F.relu(self.bn2(self.conv2(y_KD1HW))).amax(dim=(2, 3, 4))


def key_corners(slots: Slots) -> Tensor:
    """The box of each slot in the slice nearest the middle that has one.

    Args:
        slots: of a batch.

    Returns:
        (B, S, 4).
    """
    times = slots.present_BTS.shape[1]
    far_T = (torch.arange(times, device=slots.present_BTS.device) - (times - 1) / 2).abs()
    far_BTS = far_T[:, None].expand(slots.present_BTS.shape).masked_fill(~slots.present_BTS, float("inf"))
    first_BS = far_BTS.argmin(dim=1)
    return slots.corners_BTS4.gather(1, first_BS[:, None, :, None].expand(-1, -1, -1, 4)).squeeze(1)


class RelationHead(nn.Module):
    """Rows of slots to logits.

    Args:
        channels: C of the map.
        settings: of the relations.
        classes: what they classify.
    """

    def __init__(self, channels: int, settings: Relations, classes: Classes) -> None:
        super().__init__()
        self.rows: RelationRows | AcrnRows = (
            AcrnRows(channels) if settings.head == "acrn" else RelationRows(channels, settings.hidden)
        )
        dim = self.rows.num_features
        self.attention = None if settings.head == "acrn" else nn.Linear(dim, 2)  # [C] has one row a label
        self.drop, self.dropout = settings.drop, nn.Dropout(settings.dropout)
        self.verb_head, self.noun_head = classes.verb_head(dim), classes.noun_head(dim)
        for head in (self.verb_head, self.noun_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, map_BCTHW: Tensor, boxes_BTSE: Tensor, picture: tuple[int, int]) -> Related:
        """Relate a batch.

        Args:
            map_BCTHW: the trunk's.
            boxes_BTSE: slots, `slots.BOXES` of the clips.
            picture: height and width of the clips, in pixels.

        Returns:
            What is added to the global logits.

        Raises:
            ModelError: the slots are of other clips or times than the map.
        """
        B, T, S = len(map_BCTHW), map_BCTHW.shape[2], len(SLOTS)
        if boxes_BTSE.ndim != 4 or boxes_BTSE.shape[:3] != (B, T, S):
            raise ModelError(
                f"the map has {B} clips of {T} times, so boxes are {(B, T, S)} by their entries, got "
                f"{tuple(boxes_BTSE.shape)}: data.boxes.slices must be {T}"
            )
        if self.training and self.drop:
            kept_B = torch.rand(B, device=boxes_BTSE.device) >= self.drop
            boxes_BTSE = boxes_BTSE * kept_B[:, None, None, None]
        slots = Slots.of(boxes_BTSE)
        present_BS = slots.present_BTS.any(dim=1)
        if boxes_BTSE.is_meta:  # is counted, without content: every slot
            chosen_K = torch.arange(B * S, device=boxes_BTSE.device)
        else:
            chosen_K = present_BS.flatten().nonzero().squeeze(1)
        if len(chosen_K):
            rows_KD = self.rows(map_BCTHW, slots, picture, chosen_K)
        else:  # no batch norm counts an empty batch; every weight still gets a gradient, which processes wait for
            nothing = torch.stack([parameter.sum() for parameter in self.rows.parameters()]).sum() * 0
            rows_KD = nothing.expand(0, self.rows.num_features)
        rows_ND = rows_KD.new_zeros(B * S, rows_KD.shape[1]).index_copy(0, chosen_K, rows_KD)
        return self._classify(rows_ND.unflatten(0, (B, S)), present_BS)

    def _classify(self, rows_BSD: Tensor, present_BS: Tensor) -> Related:
        verb_BS = present_BS & _mask((*HANDS, *HELD), present_BS)
        objects_BS = present_BS & _mask((*HELD, *OTHERS), present_BS)
        noun_BS = torch.where(objects_BS.any(dim=1, keepdim=True), objects_BS, present_BS)
        scores_BS2 = rows_BSD.new_zeros(*present_BS.shape, 2) if self.attention is None else self.attention(rows_BSD)
        logits, weights = [], []
        for task, (used_BS, head) in enumerate(((verb_BS, self.verb_head), (noun_BS, self.noun_head))):
            scores_BS = scores_BS2[..., task].float().masked_fill(~used_BS, torch.finfo(torch.float32).min)
            weights_BS = scores_BS.softmax(dim=1) * used_BS
            row_BD = (weights_BS[..., None].to(rows_BSD.dtype) * rows_BSD).sum(dim=1)
            out_BC = head(self.dropout(row_BD))
            if isinstance(head, MaskedLinear) and head.any_kept:
                out_BC = out_BC.masked_fill(head.masked_C, 0.0)  # the global head has masked them
            logits.append(out_BC)
            weights.append(weights_BS)
        present = verb_BS.any(dim=1), noun_BS.any(dim=1)
        return Related(logits[0], logits[1], *present, rows_BSD, present_BS, weights[0], weights[1])


def _mask(slots: tuple[int, ...], like_BS: Tensor) -> Tensor:
    mask_S = torch.zeros(like_BS.shape[1], dtype=torch.bool, device=like_BS.device)
    mask_S[list(slots)] = True
    return mask_S
