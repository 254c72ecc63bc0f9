"""Late fusion: one stream per modality with a verb and a noun head; the streams' logits are summed (MMIR Eq 1).

Shapes: B clips, D features of a modality, V verbs, N nouns.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.models.heads import Classes, TwoHeadOutput


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
        missing = [name for name in self.modalities if name not in clips]
        if missing:
            raise ModelError(f"the model reads {', '.join(self.modalities)}; the batch lacks {', '.join(missing)}")
        features, levels = self.pool(clips)
        output = TwoHeadOutput(*self.classify(features), features, levels=levels)
        return output if self.action_head is None else self.action_head(output, fold=not self.training)
