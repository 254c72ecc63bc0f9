"""A second classifier beside a model's own, on the same features: what maximum classifier discrepancy needs.

Shapes: B clips, V verbs, N nouns, D features.
"""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.models.heads import ALL_CLASSES, Classes, TwoHeadOutput

HEADS = ("verb_head", "noun_head")
"""What every model calls its heads."""


class TwoClassifiers(nn.Module):
    """Any model of this package with a second pair of linear heads per modality, whose logits are summed too.

    In training the output carries the second's logits as `second`. Otherwise its logits are the logarithm of the mean
    of both classifiers' probabilities, so that predictions use both.

    Args:
        model: with `feature_dims` and heads of the names in `HEADS`.
        dropout: probability of dropping a feature before the second heads.
        classes: what the second heads classify, and the head over actions if there is one.

    Raises:
        ModelError: the model has no heads of these names.
    """

    def __init__(self, model: nn.Module, dropout: float, classes: Classes = ALL_CLASSES) -> None:
        super().__init__()
        self.first = model
        self.dropout = dropout
        self.feature_dims: dict[str, int] = dict(model.feature_dims)  # type: ignore[arg-type]
        self.modalities = tuple(self.feature_dims)
        self.second = nn.ModuleDict(
            {
                modality: nn.ModuleDict({"verb_head": classes.verb_head(dim), "noun_head": classes.noun_head(dim)})
                for modality, dim in self.feature_dims.items()
            }
        )
        self.action_head = classes.action_head(self.feature_dims)
        if not self.head_parameters(model):
            raise ModelError(f"a second classifier needs a model with {' and '.join(HEADS)}; this one has none")

    def forward(self, clips: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Classify a batch.

        Args:
            clips: as the model takes them.

        Returns:
            See the class.

        Raises:
            ModelError: as the model does.
        """
        output: TwoHeadOutput = self.first(clips)
        second = self.second_logits(output.features)
        if self.training:
            output = output._replace(second=second)
        else:
            verb_BV = log_mean(output.verb_logits_BV, second.verb_logits_BV)
            output = TwoHeadOutput(verb_BV, log_mean(output.noun_logits_BN, second.noun_logits_BN), output.features)
        return output if self.action_head is None else self.action_head(output, fold=not self.training)

    def first_logits(self, features: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Scores of the model's own heads.

        Args:
            features: pooled, (B, D) per modality.

        Returns:
            Scores without features.
        """
        verb_BV, noun_BN = self.first.classify(features)  # type: ignore[operator]  # every model has it
        return TwoHeadOutput(verb_BV, noun_BN, {})

    def second_logits(self, features: Mapping[str, Tensor]) -> TwoHeadOutput:
        """Scores of the second heads; each modality's features are dropped once for both heads.

        Args:
            features: pooled, (B, D) per modality.

        Returns:
            Scores without features.
        """
        verb, noun = [], []
        for modality, heads in self.second.items():
            dropped_BD = F.dropout(features[modality], self.dropout, self.training)
            verb.append(cast(nn.ModuleDict, heads)["verb_head"](dropped_BD))
            noun.append(cast(nn.ModuleDict, heads)["noun_head"](dropped_BD))
        return TwoHeadOutput(torch.stack(verb).sum(dim=0), torch.stack(noun).sum(dim=0), {})

    @staticmethod
    def head_parameters(module: nn.Module) -> list[nn.Parameter]:
        """Parameters of all heads inside a module.

        Args:
            module: any.

        Returns:
            Those with a name of `HEADS` in their path.
        """
        return [parameter for name, parameter in module.named_parameters() if set(HEADS) & set(name.split("."))]


def log_mean(one_BC: Tensor, other_BC: Tensor) -> Tensor:
    """Logarithm of the mean of two softmaxes.

    Args:
        one_BC: logits.
        other_BC: logits.

    Returns:
        (B, C).
    """
    both = torch.stack([one_BC.log_softmax(dim=1), other_BC.log_softmax(dim=1)])
    return torch.logsumexp(both, dim=0) - math.log(2.0)
