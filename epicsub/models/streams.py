"""Late fusion: one stream per modality with a verb and a noun head; the streams' logits are summed (MMIR Eq 1).

MMIR: arXiv 2311.14281, section 3.1. A stream of video clips is a trunk; models on features have their own.

Shapes: B clips, C channels, T frames, H, W pixels; D features of a modality, V verbs, N nouns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.modality import HAND_REGIONS, MODALITIES, OBJECT_REGIONS, Modality
from epicsub.models.heads import ALL_CLASSES, Classes, TwoHeadOutput
from epicsub.models.normalise import Normalise
from epicsub.models.relation_head import Related, RelationHead, Relations
from epicsub.slots import BOXES


class StreamHeads(nn.Module):
    """The end of one modality's stream: dropout and two linear heads. A subclass calls `add_heads` last."""

    def add_heads(self, dim: int, dropout: float, classes: Classes) -> None:
        """Create the heads.

        Args:
            dim: D.
            dropout: probability of dropping a feature before them.
            classes: what they classify.
        """
        self.dropout = nn.Dropout(dropout)
        self.verb_head, self.noun_head = classes.verb_head(dim), classes.noun_head(dim)

    def classify(self, features_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of pooled features, through one dropout.

        Args:
            features_BD: pooled features.

        Returns:
            (B, V) and (B, N).
        """
        dropped_BD = self.dropout(features_BD)
        return self.verb_head(dropped_BD), self.noun_head(dropped_BD)


S = TypeVar("S", bound=StreamHeads)


class StreamsModel(nn.Module, Generic[S]):
    """One stream per modality; the streams' logits are summed (MMIR Eq 1), separately for verbs and nouns.

    A subclass writes `pool`.

    Args:
        streams: by modality, in order.
        feature_dims: D of each modality.
        classes: what the model classifies.
    """

    def __init__(self, streams: Mapping[str, S], feature_dims: Mapping[str, int], classes: Classes) -> None:
        super().__init__()
        self.modalities = tuple(streams)
        self.streams = nn.ModuleDict(streams)
        self.feature_dims: dict[str, int] = dict(feature_dims)
        self.action_head = classes.action_head(feature_dims)

    def stream(self, modality: str) -> S:
        """The stream of one modality.

        Args:
            modality: one of `modalities`.

        Returns:
            The module.
        """
        return cast(S, self.streams[modality])

    def classify(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Verb and noun logits of pooled features: the streams' sum.

        Args:
            features: (B, D) per modality.

        Returns:
            (B, V) and (B, N).
        """
        verb, noun = zip(*(self.stream(name).classify(features[name]) for name in self.modalities), strict=True)
        return torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0)

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
        """Run the streams up to the pooled features.

        Args:
            clips: a batch, every modality of the model among them.

        Returns:
            (B, D) per modality, and the levels of `TwoHeadOutput`.
        """
        raise NotImplementedError

    def forward(self, clips: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: of each modality, as `pool` takes them; modalities beyond the model's are ignored.

        Returns:
            Scores and features; see `TwoHeadOutput`.

        Raises:
            ModelError: a modality is missing, or a clip has the wrong shape.
        """
        self.refuse_missing(clips)
        features, levels = self.pool(clips)
        return self.with_actions(TwoHeadOutput(*self.classify(features), features, levels=levels))

    def refuse_missing(self, clips: Mapping[str, Tensor], needed: Sequence[str] = ()) -> None:
        """Refuse a batch that lacks something.

        Args:
            clips: the batch.
            needed: entries beside the modalities.

        Raises:
            ModelError: naming what is missing.
        """
        missing = [name for name in (*self.modalities, *needed) if name not in clips]
        if missing:
            reads = ", ".join((*self.modalities, *needed))
            raise ModelError(f"the model reads {reads}; the batch lacks {', '.join(missing)}: give both")

    def with_actions(self, output: TwoHeadOutput) -> TwoHeadOutput:
        """Add the head over joint actions, if there is one.

        Args:
            output: of the verb and noun heads.

        Returns:
            See `ActionHead`.
        """
        return output if self.action_head is None else self.action_head(output, fold=not self.training)


MakeTrunk = Callable[[Modality], tuple[nn.Module, Normalise]]
"""To a trunk, which has `num_features` and `features(clip) -> (B, D)`, and its normalisation."""


class Stream(StreamHeads):
    """One modality: normalisation, trunk, dropout, two linear heads.

    Args:
        make_trunk: called with the modality.
        modality: read from clips.
        dropout: probability of dropping a pooled feature before the heads.
        classes: what they classify.
    """

    def __init__(self, make_trunk: MakeTrunk, modality: Modality, dropout: float, classes: Classes) -> None:
        super().__init__()
        self.channels = modality.channels
        trunk, normalise = make_trunk(modality)
        self.normalise: Normalise = normalise
        self.trunk: Any = trunk
        self.add_heads(int(trunk.num_features), dropout, classes)  # type: ignore[arg-type]

    def features(self, clip_BCTHW: Tensor) -> Tensor:
        """Pooled features of clips.

        Args:
            clip_BCTHW: uint8 or float, in 0..255.

        Returns:
            (B, D).

        Raises:
            ModelError: other than (B, C, T, H, W) with the stream's channels.
        """
        features_BD: Tensor = self.trunk.features(self._normalised(clip_BCTHW))
        return features_BD

    def features_and_map(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features of clips, and the map that relations read.

        Args:
            clip_BCTHW: as of `features`.

        Returns:
            (B, D) and (B, C', T', H / 16, W / 16).

        Raises:
            ModelError: as `features` does.
        """
        features_BD, map_BCTHW = self.trunk.features_and_map(self._normalised(clip_BCTHW))
        return features_BD, map_BCTHW

    def _normalised(self, clip_BCTHW: Tensor) -> Tensor:
        if clip_BCTHW.ndim != 5 or clip_BCTHW.shape[1] != self.channels:
            raise ModelError(f"a stream takes clips (B, {self.channels}, T, H, W), got {tuple(clip_BCTHW.shape)}")
        normalised_BCTHW: Tensor = self.normalise(clip_BCTHW)
        # Apple GPUs know no channels_last_3d.
        order = torch.contiguous_format if clip_BCTHW.device.type == "mps" else torch.channels_last_3d
        return normalised_BCTHW.contiguous(memory_format=order)


class TwoStream(StreamsModel[Stream]):
    """One stream per modality of videos.

    Args:
        modalities: names of modalities with channels, at least one.
        make_trunk: called for each modality in turn.
        dropout: probability of dropping a pooled feature before the heads.
        classes: what the model classifies.
        relations: settings of relations on the map of one stream, whose boxes are among the clips; None for none.

    Raises:
        ModelError: no modality, an unknown one, or one named twice; relations of a stream that is not there, or whose
            trunk has no map.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        make_trunk: MakeTrunk,
        dropout: float = 0.0,
        classes: Classes = ALL_CLASSES,
        relations: Relations | None = None,
    ) -> None:
        known = [name for name, row in MODALITIES.items() if row.from_video]
        if not modalities or len(set(modalities)) != len(modalities) or set(modalities) - set(known):
            raise ModelError(
                f"streams are made for one or more of {', '.join(known)}; got {list(modalities)}: name each once"
            )
        streams = {name: Stream(make_trunk, MODALITIES[name], dropout, classes) for name in modalities}
        super().__init__(streams, {name: stream.trunk.num_features for name, stream in streams.items()}, classes)
        self.relations = relations
        self.relation_head = (
            None if relations is None else RelationHead(self._map_channels(relations), relations, classes)
        )

    def pool(self, clips: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], None]:
        """Run the trunks.

        Args:
            clips: (B, C, T, H, W) per modality, uint8 or float, in 0..255.

        Returns:
            (B, D) per modality, and no levels.

        Raises:
            ModelError: a clip has the wrong shape, or too few frames.
        """
        return {name: self.stream(name).features(clips[name]) for name in self.modalities}, None

    def forward(self, clips: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: as of `pool`; with relations, `slots.BOXES` (B, T', 6, 12) too.

        Returns:
            Scores and features, which are those of the streams whether there are relations or not.

        Raises:
            ModelError: a modality or the boxes are missing, or a clip has the wrong shape.
        """
        return super().forward(clips) if self.relation_head is None else self.related(clips)[0]

    def related(self, clips: Mapping[str, Tensor]) -> tuple[TwoHeadOutput, Related]:
        """Classify a batch, and tell what relations made of it.

        Args:
            clips: as of `forward`.

        Returns:
            The output, and rows, presence and attention of the slots.

        Raises:
            ModelError: as `forward` does, or the model has no relations.
        """
        if self.relation_head is None or self.relations is None:
            raise ModelError("the model has no relations: make it with model.relations")
        self.refuse_missing(clips, (BOXES,))
        chosen = self.relations.stream
        features = {name: self.stream(name).features(clips[name]) for name in self.modalities if name != chosen}
        features[chosen], map_BCTHW = self.stream(chosen).features_and_map(clips[chosen])
        features = {name: features[name] for name in self.modalities}
        height, width = clips[chosen].shape[-2:]
        related: Related = self.relation_head(map_BCTHW, clips[BOXES], (height, width))
        return self.with_actions(TwoHeadOutput(*related.added_to(*self.classify(features)), features)), related

    @property
    def region_dims(self) -> dict[str, int]:
        """Lengths of the features of hands and of objects, see `Related.regions`; empty without relations."""
        if self.relation_head is None:
            return {}
        return dict.fromkeys((HAND_REGIONS.name, OBJECT_REGIONS.name), self.relation_head.rows.num_features + 1)

    def _map_channels(self, relations: Relations) -> int:
        if relations.stream not in self.modalities:
            raise ModelError(f"relations are of stream {relations.stream}; there are {', '.join(self.modalities)}")
        channels = getattr(self.stream(relations.stream).trunk, "map_channels", None)
        if channels is None:
            raise ModelError("relations need a map of features, and this trunk has none: leave model.relations out")
        return int(channels)
