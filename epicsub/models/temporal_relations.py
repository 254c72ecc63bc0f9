"""Temporal relations over frozen features of frames, with the domain attention of TA3N.

Zhou et al., "Temporal Relational Reasoning in Videos", ECCV 2018; Chen et al., "Temporal Attentive Alignment for
Large-Scale Video Domain Adaptation", ICCV 2019.

[O] the authors' code (cmhungsteve/TA3N, 2c65b5d) and that of the UDA challenge (jonmun/EPIC-KITCHENS-100_UDA_TA3N),
both read and never run or copied; [D] our own choice.

- A frame: Linear D-512, ReLU, dropout [O]. A relation of s frames: ReLU, Linear s*512-256, ReLU over their
  concatenation, summed over at most 3 evenly chosen tuples of s frames in order; one relation for each s = T..2 [O].
- Attention: a relation whose domain its discriminator cannot recognise counts least, w = 1 - H(d), and the video's
  feature is the sum of (1 + w) * relation [O]. The weights carry no gradient here [D], a
  reversed one in [O].
- One such stream per modality, logits summed as in the two-stream I3D [D]; [O] concatenates the modalities' features.
- Clips with more frames than `segments` are cut to as many: a random one of each equal part in training, its middle
  one otherwise.

Shapes: B clips, T frames, D features of a frame, S shared, R relations, H features of a relation.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.models.heads import ALL_CLASSES, Classes
from epicsub.models.streams import StreamHeads, StreamsModel

MOST_TUPLES = 3  # [O]


class Levels(NamedTuple):
    """Features below the video's, of one modality."""

    frames_BTS: Tensor  # noqa: N815
    relations_BRH: Tensor  # noqa: N815


def relation_tuples(frames: int, size: int) -> list[tuple[int, ...]]:
    """Ordered tuples of frames, evenly chosen from all [O].

    Args:
        frames: T.
        size: frames per tuple.

    Returns:
        At most 3 tuples of positions.
    """
    every = list(combinations(range(frames), size))
    count = min(MOST_TUPLES, len(every))
    return [every[math.ceil(index * len(every) / count)] for index in range(count)]


def domain_attention(domain_BR2: Tensor) -> Tensor:
    """1 - H of the domain's softmax, in nats: 0.31 where it is undecided, 1 where it is certain.

    Args:
        domain_BR2: logits of "source" and "target".

    Returns:
        (B, R).
    """
    logprob_BR2 = domain_BR2.log_softmax(dim=-1)
    return 1.0 + (logprob_BR2.exp() * logprob_BR2).sum(dim=-1)


class RelationStream(StreamHeads):
    """One modality."""

    def __init__(self, dim: int, segments: int, shared: int, hidden: int, dropout: float, classes: Classes) -> None:
        super().__init__()
        self.frame = nn.Linear(dim, shared)
        self.sizes = list(range(segments, 1, -1))
        self.tuples = [relation_tuples(segments, size) for size in self.sizes]
        self.relations = nn.ModuleList(nn.Linear(size * shared, hidden) for size in self.sizes)
        self.relation_domains = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)) for _ in self.sizes
        )
        self.add_heads(hidden, dropout, classes)

    def forward(self, frames_BTD: Tensor, attend: bool) -> tuple[Tensor, Levels]:
        """The video's features, and what they are made of.

        Args:
            frames_BTD: features of frames.
            attend: weigh relations by their discriminators.

        Returns:
            (B, H), and the levels below.
        """
        frames_BTS = self.dropout(F.relu(self.frame(frames_BTD)))
        relations = []
        for layer, tuples in zip(self.relations, self.tuples, strict=True):
            parts = [F.relu(layer(F.relu(frames_BTS[:, list(chosen)].flatten(1)))) for chosen in tuples]
            relations.append(torch.stack(parts).sum(dim=0))
        relations_BRH = torch.stack(relations, dim=1)
        weights_BR = relations_BRH.new_zeros(relations_BRH.shape[:2])
        if attend:
            weights_BR = domain_attention(self.domains(relations_BRH)).detach()
        return ((1.0 + weights_BR)[..., None] * relations_BRH).sum(dim=1), Levels(frames_BTS, relations_BRH)

    def domains(self, relations_BRH: Tensor) -> Tensor:
        """Logits of "source" and "target" for each relation, by its own discriminator.

        Args:
            relations_BRH: features of relations.

        Returns:
            (B, R, 2).
        """
        return torch.stack([net(relations_BRH[:, r]) for r, net in enumerate(self.relation_domains)], dim=1)


class TemporalRelations(StreamsModel[RelationStream]):
    """A relation network per modality on features of frames; the streams' logits are summed.

    Args:
        dims: D of each modality.
        segments: frames that the relations are between, at least 2; 5 [O].
        shared: S; 512 [O].
        hidden: H; 256 [O].
        dropout: probability of dropping a frame's and a video's feature; 0.5 [O].
        attention: weigh relations by their discriminators, which TA3N trains; without it nothing does.
        classes: what the model classifies.

    Raises:
        ModelError: fewer than 2 segments.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        segments: int = 5,
        shared: int = 512,
        hidden: int = 256,
        dropout: float = 0.5,
        attention: bool = True,
        classes: Classes = ALL_CLASSES,
    ) -> None:
        if segments < 2:
            raise ModelError(f"relations need at least 2 frames, not {segments}")
        streams = {m: RelationStream(dim, segments, shared, hidden, dropout, classes) for m, dim in dims.items()}
        super().__init__(streams, dict.fromkeys(dims, hidden), classes)
        self.segments, self.attention = segments, attention
        self.frame_dims: dict[str, int] = dict.fromkeys(dims, shared)

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Levels]]:
        """Run the relation networks.

        Args:
            clips: features (B, T, D) per modality, T at least `segments`.

        Returns:
            (B, H) per modality, and the levels below.

        Raises:
            ModelError: features have no time axis or too short a one.
        """
        short = [
            f"{name} {tuple(clips[name].shape)}"
            for name in self.modalities
            if clips[name].ndim != 3 or clips[name].shape[1] < self.segments
        ]
        if short:
            raise ModelError(
                f"the model needs features of {self.segments} frames or more, (B, T, D); got {', '.join(short)}"
            )
        videos, levels = {}, {}
        for name in self.modalities:
            frames_BTD = choose_frames(clips[name], self.segments, self.training)
            videos[name], levels[name] = self.stream(name)(frames_BTD, self.attention)
        return videos, levels


def choose_frames(frames_BTD: Tensor, segments: int, at_random: bool) -> Tensor:
    """One frame of each equal part of the time axis.

    Args:
        frames_BTD: features of frames.
        segments: parts.
        at_random: any frame of each part, other ones for each clip; else the middle one.

    Returns:
        (B, segments, D).
    """
    B, T = frames_BTD.shape[:2]
    if segments == T:
        return frames_BTD
    place = torch.rand(B, segments) if at_random else torch.full((B, segments), 0.5)
    index_BT = ((torch.arange(segments) + place) * T / segments).long().clamp_max(T - 1).to(frames_BTD.device)
    return frames_BTD.gather(1, index_BT[..., None].expand(-1, -1, frames_BTD.shape[2]))
