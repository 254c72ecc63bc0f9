"""The heads of a model over verbs and nouns, masks of classes that a list lacks, and a head over joint actions.

Shapes: B clips, D features of a modality, V verbs, N nouns, A actions; C classes of either kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from epicsub.constants import NUM_NOUNS, NUM_VERBS

MASKED = -1e4
"""Logit of a masked class: its probability is exactly 0, also in half precision and summed with other streams'."""
SMALLEST = 1e-12  # as predictions.PROBABILITY_FLOOR
PAIRS_NAME = "action_head.pairs_A2"
"""Of the table of actions in a model's state."""


class TwoHeadOutput(NamedTuple):
    """What every model returns: scores of a batch of clips, and the features that adaptation aligns."""

    verb_logits_BV: Tensor  # noqa: N815
    noun_logits_BN: Tensor  # noqa: N815
    features: dict[str, Tensor]
    """(B, D) per modality, pooled, before dropout."""
    second: "TwoHeadOutput | None" = None
    """In training, scores of a second classifier on the same features; its own `features` are empty."""
    levels: dict[str, Any] | None = None
    """Features below the pooled ones, per modality, of a model that has such (`temporal_relations.Levels`)."""
    action_logits_BA: Tensor | None = None  # noqa: N815
    """In training, scores of joint actions, where a model has that third head."""
    token_verb_logits_BLV: Tensor | None = None  # noqa: N815
    """In training, scores of each token of a window, (B, L, V), where a model has such; L: places times modalities."""
    token_noun_logits_BLN: Tensor | None = None  # noqa: N815
    """As `token_verb_logits_BLV`, (B, L, N)."""


class MaskedLinear(nn.Linear):
    """A linear head that decides between some of its classes only; the other columns get no gradient.

    Cross-entropy over all classes is then that of a head with the kept classes alone.

    Args:
        dim: D.
        classes: C.
        kept: classes to decide between; with none, every logit is 0 and the head is not trained.
    """

    masked_C: Tensor  # noqa: N815

    def __init__(self, dim: int, classes: int, kept: Sequence[int]) -> None:
        super().__init__(dim, classes)
        masked_C = torch.ones(classes, dtype=torch.bool)
        masked_C[list(kept)] = False
        self.register_buffer("masked_C", masked_C, persistent=False)
        self.any_kept = bool(kept)
        self.requires_grad_(self.any_kept)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Classify, with masked classes at the lowest logit.

        Args:
            features_BD: pooled features.

        Returns:
            (B, C) logits.
        """
        logits_BC = super().forward(features_BD)
        return logits_BC.masked_fill(self.masked_C, MASKED) if self.any_kept else torch.zeros_like(logits_BC)


def count_unmasked(logits_BC: Tensor) -> Tensor:
    """How many classes a head decides between.

    Args:
        logits_BC: its output.

    Returns:
        A scalar: all classes, those that a mask left, or 1 for a head whose logits are all 0.
    """
    possible = (logits_BC > MASKED / 2).any(0).sum()
    return torch.where(logits_BC.any(), possible, torch.ones_like(possible))


class ActionHead(nn.Module):
    """A third head over joint actions: dropout and a linear layer over the pooled features of all modalities.

    The organisers score an action by verb x noun products, so what the joint head knows must reach the two tables. Its
    probabilities q(v, n) over the actions of the training list are summed over nouns and over verbs, for a prediction
        p'(v) = (1 - fold) p(v) + fold * sum_n q(v, n),    p'(n) = (1 - fold) p(n) + fold * sum_v q(v, n).
    Verbs and nouns that no training action has keep a share of 1 - fold of their own probability. What the joint head
    knows of the pair beyond its two marginals is lost in the product; that is the price of the format.

    Args:
        feature_dims: D of each modality.
        pairs_A2: verb and noun class of each action.
        fold: share of the joint head in a prediction.
        dropout: probability of dropping a feature.
    """

    pairs_A2: Tensor  # noqa: N815

    def __init__(self, feature_dims: Mapping[str, int], pairs_A2: Tensor, fold: float, dropout: float) -> None:
        super().__init__()
        self.modalities, self.fold = tuple(feature_dims), fold
        self.register_buffer("pairs_A2", pairs_A2.long())
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(feature_dims.values()), len(pairs_A2))

    def forward(self, output: TwoHeadOutput, fold: bool) -> TwoHeadOutput:
        """Add the joint head to a model's output.

        Args:
            output: with features (B, D) per modality.
            fold: put it into the verb and noun scores, which are log-probabilities then; else beside them.

        Returns:
            The output with action logits, or with folded verb and noun scores.
        """
        features_BD = torch.cat([output.features[name] for name in self.modalities], dim=1)
        logits_BA = self.linear(self.dropout(features_BD))
        if not fold:
            return output._replace(action_logits_BA=logits_BA)
        q_BA = logits_BA.float().softmax(dim=1)
        verb_A, noun_A = self.pairs_A2.unbind(dim=1)
        return output._replace(
            verb_logits_BV=self._fold(output.verb_logits_BV, q_BA, verb_A),
            noun_logits_BN=self._fold(output.noun_logits_BN, q_BA, noun_A),
        )

    def _fold(self, logits_BC: Tensor, q_BA: Tensor, class_A: Tensor) -> Tensor:
        p_BC = logits_BC.float().softmax(dim=1)
        marginal_BC = torch.zeros_like(p_BC).index_add_(1, class_A, q_BA)
        return ((1 - self.fold) * p_BC + self.fold * marginal_BC).clamp_min(SMALLEST).log()


@dataclass(frozen=True, eq=False)
class Actions:
    """Settings of an `ActionHead`."""

    pairs_A2: Tensor  # noqa: N815
    """Verb and noun class of each action, (A, 2)."""
    fold: float
    """Share of the joint head in a prediction."""
    dropout: float
    """Probability of dropping a feature before it."""


@dataclass(frozen=True, eq=False)
class Classes:
    """What a model classifies. Given to every model at its construction."""

    num_verbs: int = NUM_VERBS
    num_nouns: int = NUM_NOUNS
    verbs: Sequence[int] | None = None
    """Class mask: the only verbs to decide between; None for all."""
    nouns: bool = True
    """False masks every noun, so that all are equally likely."""
    actions: Actions | None = None
    """Adds a head over joint actions."""

    def verb_head(self, dim: int) -> nn.Linear:
        """A head over verbs.

        Args:
            dim: D.

        Returns:
            A linear layer (B, D) -> (B, V).
        """
        if self.verbs is None:
            return nn.Linear(dim, self.num_verbs)
        return MaskedLinear(dim, self.num_verbs, self.verbs)

    def noun_head(self, dim: int) -> nn.Linear:
        """A head over nouns.

        Args:
            dim: D.

        Returns:
            A linear layer (B, D) -> (B, N).
        """
        return nn.Linear(dim, self.num_nouns) if self.nouns else MaskedLinear(dim, self.num_nouns, ())

    def action_head(self, feature_dims: Mapping[str, int]) -> ActionHead | None:
        """The head over joint actions, if any.

        Args:
            feature_dims: D of each modality.

        Returns:
            The head, or None.

        Raises:
            ValueError: an action is outside the verb and noun classes.
        """
        if self.actions is None:
            return None
        pairs_A2, classes = self.actions.pairs_A2, (self.num_verbs, self.num_nouns)
        if bool((pairs_A2 < 0).any()) or bool((pairs_A2 >= torch.tensor(classes)).any()):
            raise ValueError(f"actions outside {classes} classes")
        return ActionHead(feature_dims, pairs_A2, self.actions.fold, self.actions.dropout)


ALL_CLASSES = Classes()
"""97 verbs and 300 nouns, no mask, no head over actions."""
