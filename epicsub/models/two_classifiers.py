"""A second classifier beside a model's own, on the same features: what maximum classifier discrepancy needs.

Shapes: B clips, V verbs, N nouns, D features.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import ModelError
from epicsub.models.outputs import TwoHeadOutput

HEADS = ("verb_head", "noun_head")
"""What every model calls its heads."""


class TwoClassifiers(nn.Module):
    """Any model of this room with a second pair of linear heads a modality, their logits summed as the first's are.

    In training the output carries the second's logits as `second`. Otherwise its logits are the logarithm of the mean
    of both classifiers' probabilities, so that whoever predicts uses both.

    Args:
        model: with `feature_dims` and heads of the names in `HEADS`.
        dropout: probability of dropping a feature before the second heads.
        num_verbs: verb classes, V.
        num_nouns: noun classes, N.

    Raises:
        ModelError: the model has no heads of these names.
    """

    def __init__(
        self, model: nn.Module, dropout: float, num_verbs: int = NUM_VERBS, num_nouns: int = NUM_NOUNS
    ) -> None:
        super().__init__()
        self.first = model
        self.dropout = dropout
        self.feature_dims: dict[str, int] = dict(model.feature_dims)  # type: ignore[arg-type]
        self.modalities = tuple(self.feature_dims)
        self.second = nn.ModuleDict(
            {
                modality: nn.ModuleDict(
                    {"verb_head": nn.Linear(dim, num_verbs), "noun_head": nn.Linear(dim, num_nouns)}
                )
                for modality, dim in self.feature_dims.items()
            }
        )
        if not list(self.heads(model)):
            raise ModelError(f"a second classifier needs a model with {' and '.join(HEADS)}; this one has none")

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch; see the class for what comes out.

        Raises:
            ModelError: as the model does.
        """
        output = self.first(clips)
        second = self.second_logits(output.features)
        if self.training:
            return output._replace(second=second)
        return TwoHeadOutput(
            log_mean(output.verb_logits_BV, second.verb_logits_BV),
            log_mean(output.noun_logits_BN, second.noun_logits_BN),
            output.features,
        )

    def first_logits(self, features: dict[str, Tensor]) -> TwoHeadOutput:
        """What the model's own heads say of pooled features."""
        verb_BV, noun_BN = self.first.classify(features)  # type: ignore[operator]  # every model has it
        return TwoHeadOutput(verb_BV, noun_BN, {})

    def second_logits(self, features: dict[str, Tensor]) -> TwoHeadOutput:
        """What the second heads say of pooled features; each modality's features are dropped once for both heads."""
        verb, noun = [], []
        for modality, heads in self.second.items():
            dropped_BD = F.dropout(features[modality], self.dropout, self.training)
            verb.append(cast(nn.ModuleDict, heads)["verb_head"](dropped_BD))
            noun.append(cast(nn.ModuleDict, heads)["noun_head"](dropped_BD))
        return TwoHeadOutput(torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0), {})

    @staticmethod
    def heads(module: nn.Module) -> list[nn.Parameter]:
        """Parameters of all heads inside a module."""
        return [parameter for name, parameter in module.named_parameters() if set(HEADS) & set(name.split("."))]


def log_mean(one_BC: Tensor, other_BC: Tensor) -> Tensor:
    """Logarithm of the mean of two softmaxes."""
    both = torch.stack([one_BC.log_softmax(dim=1), other_BC.log_softmax(dim=1)])
    return torch.logsumexp(both, dim=0) - math.log(2.0)
