"""What every model returns. Shapes: B clips, V verbs, N nouns, D features."""

from typing import Any, NamedTuple

from torch import Tensor


class TwoHeadOutput(NamedTuple):
    """Scores of one batch of clips, and the features that adaptation aligns."""

    verb_logits_BV: Tensor  # noqa: N815
    noun_logits_BN: Tensor  # noqa: N815
    features: dict[str, Tensor]
    """(B, D) per modality, pooled, before dropout."""
    second: "TwoHeadOutput | None" = None
    """In training, what a model's second classifier says of the same features; its own `features` are empty."""
    levels: dict[str, Any] | None = None
    """Features below the pooled ones, per modality, of a model that has such (`temporal_relations.Levels`)."""
    action_logits_BA: Tensor | None = None  # noqa: N815
    """In training, scores of joint actions, where a model has that third head (action_head.py)."""
