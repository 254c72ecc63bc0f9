"""A third head over joint actions, whose scores are folded back into verb and noun.

The organisers score an action by verb x noun products, so what a joint head knows must reach the two tables. Its
probabilities q(v, n) over the actions of the training list are summed over nouns and over verbs, and a prediction is
    p'(v) = (1 - fold) p(v) + fold * sum_n q(v, n),    p'(n) = (1 - fold) p(n) + fold * sum_v q(v, n).
Verbs and nouns that no training action has keep a share of 1 - fold of their own probability. What the joint head
knows of the pair beyond its two marginals is lost in the product; that is the price of the format.

Shapes: B clips, D features of all modalities together, V verbs, N nouns, A actions.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.models.outputs import TwoHeadOutput

PAIRS_NAME = "action_head.pairs_A2"
SMALLEST = 1e-12  # as predictions.PROBABILITY_FLOOR


class ActionHead(nn.Module):
    """Dropout and a linear layer over the pooled features of all modalities.

    Args:
        feature_dims: D of each modality.
        pairs_A2: verb and noun class of each action.
        fold: share of the joint head in a prediction.
        dropout: probability of dropping a feature.
    """

    def __init__(self, feature_dims: Mapping[str, int], pairs_A2: Tensor, fold: float, dropout: float) -> None:
        super().__init__()
        self.modalities, self.fold = tuple(feature_dims), fold
        self.register_buffer("pairs_A2", pairs_A2.long())
        self.pairs_A2: Tensor
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(feature_dims.values()), len(pairs_A2))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """(B, D) a modality -> logits (B, A)."""
        logits_BA: Tensor = self.linear(self.dropout(torch.cat([features[name] for name in self.modalities], dim=1)))
        return logits_BA

    def folded(self, output: TwoHeadOutput, logits_BA: Tensor) -> TwoHeadOutput:
        """The output with the joint head in its verb and noun scores, which are log-probabilities then."""
        q_BA = logits_BA.float().softmax(dim=1)
        verb, noun = self.pairs_A2.unbind(dim=1)
        return output._replace(
            verb_logits_BV=self._mixed(output.verb_logits_BV, q_BA, verb),
            noun_logits_BN=self._mixed(output.noun_logits_BN, q_BA, noun),
        )

    def _mixed(self, logits_BK: Tensor, q_BA: Tensor, class_A: Tensor) -> Tensor:
        p_BK = logits_BK.float().softmax(dim=1)
        marginal_BK = torch.zeros_like(p_BK).index_add_(1, class_A, q_BA)
        return ((1 - self.fold) * p_BK + self.fold * marginal_BK).clamp_min(SMALLEST).log()


def add_action_head(
    model: nn.Module, pairs_A2: Tensor, fold: float, dropout: float, classes: tuple[int, int] = (NUM_VERBS, NUM_NOUNS)
) -> None:
    """Give a model a third head: in training its logits stand beside the others, in evaluation they are folded in.

    Args:
        model: with `feature_dims`; its output's `features` are (B, D) each.
        pairs_A2: verb and noun class of each action.
        fold: share of the joint head in a prediction.
        dropout: probability of dropping a feature before it.
        classes: verbs and nouns.
    """
    if bool((pairs_A2 < 0).any()) or bool((pairs_A2 >= torch.tensor(classes)).any()):
        raise ValueError(f"actions outside {classes} classes")
    dims: Mapping[str, int] = model.feature_dims  # type: ignore[assignment]
    model.action_head = ActionHead(dims, pairs_A2, fold, dropout)
    model.register_forward_hook(_with_actions)


def _with_actions(model: nn.Module, inputs: tuple[Any, ...], output: TwoHeadOutput) -> TwoHeadOutput:
    """A forward hook, so that the model's own code and state-dict names stay as they are."""
    head = model.action_head
    assert isinstance(head, ActionHead)
    logits_BA = head(output.features)
    return output._replace(action_logits_BA=logits_BA) if model.training else head.folded(output, logits_BA)
