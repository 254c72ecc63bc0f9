"""Temporal relations over frozen features of frames (Zhou et al., "Temporal Relational Reasoning in Videos", ECCV
2018), with the domain attention of TA3N (Chen et al., "Temporal Attentive Alignment for Large-Scale Video Domain
Adaptation", ICCV 2019).

[O] the authors' code (cmhungsteve/TA3N, 2c65b5d) and that of the UDA challenge (jonmun/EPIC-KITCHENS-100_UDA_TA3N),
both read and never run or copied; [D] our own choice.

- A frame: Linear D-512, ReLU, dropout [O]. A relation of s frames: ReLU, Linear s*512-256, ReLU over their
  concatenation, summed over at most 3 evenly chosen tuples of s frames in order; one relation for each s = T..2 [O].
- Attention: a relation whose domain its discriminator can tell not at all counts least, w = 1 - H(d), and the video's
  feature is the sum of (1 + w) * relation [O]. The weights carry no gradient here [D], a
  reversed one in [O].
- One such stream a modality, logits summed as in the two-stream I3D [D]; [O] concatenates the modalities' features.
- Clips with more frames than `segments` are cut to as many: a random one of each equal part in training, its middle
  one otherwise.

Shapes: B clips, T frames, D features of a frame, S shared, R relations, H features of a relation.
"""

import math
from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import ModelError
from epicsub.models.outputs import TwoHeadOutput

MOST_TUPLES = 3  # [O]


class Levels(NamedTuple):
    """Features below the video's, of one modality."""

    frames_BTS: Tensor  # noqa: N815
    relations_BRH: Tensor  # noqa: N815


def relation_tuples(frames: int, size: int) -> list[tuple[int, ...]]:
    """At most 3 of the ordered tuples of `size` frames, evenly chosen from all [O]."""
    every = list(combinations(range(frames), size))
    count = min(MOST_TUPLES, len(every))
    return [every[math.ceil(index * len(every) / count)] for index in range(count)]


def domain_attention(domain_BR2: Tensor) -> Tensor:
    """1 - H of the domain's softmax, in nats, (B, R): 0.31 where it cannot be told, 1 where it is certain."""
    logprob_BR2 = domain_BR2.log_softmax(dim=-1)
    return 1.0 + (logprob_BR2.exp() * logprob_BR2).sum(dim=-1)


class RelationStream(nn.Module):
    """One modality."""

    def __init__(
        self, dim: int, segments: int, shared: int, hidden: int, dropout: float, num_verbs: int, num_nouns: int
    ) -> None:
        super().__init__()
        self.frame = nn.Linear(dim, shared)
        self.sizes = list(range(segments, 1, -1))
        self.tuples = [relation_tuples(segments, size) for size in self.sizes]
        self.relations = nn.ModuleList(nn.Linear(size * shared, hidden) for size in self.sizes)
        self.relation_domains = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)) for _ in self.sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.verb_head, self.noun_head = nn.Linear(hidden, num_verbs), nn.Linear(hidden, num_nouns)

    def forward(self, frames_BTD: Tensor, attend: bool) -> tuple[Tensor, Levels]:
        """The video's features (B, H), and what they are made of."""
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
        """Logits (B, R, 2) of "source" and "target" for each relation, by its own discriminator."""
        return torch.stack([net(relations_BRH[:, r]) for r, net in enumerate(self.relation_domains)], dim=1)

    def classify(self, video_BH: Tensor) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of a video's features, through one dropout."""
        dropped_BH = self.dropout(video_BH)
        return self.verb_head(dropped_BH), self.noun_head(dropped_BH)


class TemporalRelations(nn.Module):
    """A relation network a modality on features of frames; the streams' logits are summed.

    Args:
        dims: D of each modality.
        segments: frames that the relations are between, at least 2; 5 [O].
        shared: S; 512 [O].
        hidden: H; 256 [O].
        dropout: probability of dropping a frame's and a video's feature; 0.5 [O].
        attention: weigh relations by their discriminators, which TA3N trains; without it nothing does.
        num_verbs: verb classes.
        num_nouns: noun classes.

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
        num_verbs: int = NUM_VERBS,
        num_nouns: int = NUM_NOUNS,
    ) -> None:
        super().__init__()
        if segments < 2:
            raise ModelError(f"relations are between 2 frames or more, not {segments}")
        self.modalities, self.segments, self.attention = tuple(dims), segments, attention
        self.streams = nn.ModuleDict(
            {m: RelationStream(dim, segments, shared, hidden, dropout, num_verbs, num_nouns) for m, dim in dims.items()}
        )
        self.feature_dims: dict[str, int] = dict.fromkeys(dims, hidden)
        self.frame_dims: dict[str, int] = dict.fromkeys(dims, shared)

    def stream(self, modality: str) -> RelationStream:
        """The stream of one modality."""
        return cast(RelationStream, self.streams[modality])

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of videos' features (B, H) a modality: the streams' sum."""
        verb, noun = zip(*(self.stream(name).classify(features[name]) for name in self.modalities), strict=True)
        return torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0)

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch of features.

        Args:
            clips: (B, T, D) a modality, T at least `segments`.

        Raises:
            ModelError: a modality is missing, or features have no time axis or too short a one.
        """
        missing = [name for name in self.modalities if name not in clips]
        if missing:
            raise ModelError(f"the model reads {', '.join(self.modalities)}; the batch lacks {', '.join(missing)}")
        short = [
            f"{name} {tuple(clips[name].shape)}"
            for name in self.modalities
            if clips[name].ndim != 3 or clips[name].shape[1] < self.segments
        ]
        if short:
            raise ModelError(
                f"features of {self.segments} frames or more, (B, T, D), are needed; got {', '.join(short)}"
            )
        videos, levels = {}, {}
        for name in self.modalities:
            frames_BTD = chosen_frames(clips[name], self.segments, self.training)
            videos[name], levels[name] = self.stream(name)(frames_BTD, self.attention)
        return TwoHeadOutput(*self.classify(videos), videos, levels=levels)


def chosen_frames(frames_BTD: Tensor, segments: int, at_random: bool) -> Tensor:
    """One frame of each equal part of the time axis, (B, segments, D); for each clip its own ones where `at_random`."""
    B, T = frames_BTD.shape[:2]
    if segments == T:
        return frames_BTD
    place = torch.rand(B, segments) if at_random else torch.full((B, segments), 0.5)
    index_BT = ((torch.arange(segments) + place) * T / segments).long().clamp_max(T - 1).to(frames_BTD.device)
    return frames_BTD.gather(1, index_BT[..., None].expand(-1, -1, frames_BTD.shape[2]))
