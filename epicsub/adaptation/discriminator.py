"""The domain discriminator, one a modality. Source has label 0, target label 1. Shapes: B instances, D features."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.reversal import reverse_gradient

SLOPE = 0.2  # of the LeakyReLU [C]
INIT_STD = 0.1  # of the truncated normal [C]


class DomainDiscriminator(nn.Module):
    """Linear, LeakyReLU, Linear: the logit of "this instance is from the target" (MMIR section 4.1).

    Args:
        dim: D, features of an instance.
        hidden: units between; 128 [P].
        slope: of the LeakyReLU; 0 is a ReLU.
    """

    def __init__(self, dim: int, hidden: int = 128, slope: float = SLOPE) -> None:
        super().__init__()
        self.slope = slope
        self.hidden, self.out = nn.Linear(dim, hidden), nn.Linear(hidden, 1)
        for layer in (self.hidden, self.out):
            nn.init.trunc_normal_(layer.weight, std=INIT_STD, a=-2 * INIT_STD, b=2 * INIT_STD)
            nn.init.zeros_(layer.bias)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits (B,)."""
        return self.out(F.leaky_relu(self.hidden(features_BD), self.slope)).squeeze(1)


def discriminators(feature_dims: Mapping[str, int], hidden: int, slope: float = SLOPE) -> nn.ModuleDict:
    """One discriminator a modality: aligning after fusion would lean on the weaker modality (MMIR section 3.3)."""
    return nn.ModuleDict({modality: DomainDiscriminator(dim, hidden, slope) for modality, dim in feature_dims.items()})


def domain_loss(discriminator: nn.Module, source_BD: Tensor, target_BD: Tensor, lam: float) -> Tensor:
    """Eq 8 for one modality: the mean binary cross-entropy over the instances of both domains.

    The discriminator learns to tell them apart; through the reversal the features learn, times lam, that it cannot.

    Args:
        discriminator: features -> logits.
        source_BD: instances with label 0.
        target_BD: instances with label 1.
        lam: strength of the reversal.
    """
    logits_B = discriminator(reverse_gradient(torch.cat([source_BD, target_BD]), lam))
    labels_B = torch.cat([logits_B.new_zeros(len(source_BD)), logits_B.new_ones(len(target_BD))])
    return F.binary_cross_entropy_with_logits(logits_B, labels_B)


@torch.no_grad()
def target_probabilities(discriminator: nn.Module, features_BD: Tensor) -> Tensor:
    """sigmoid(D(f)), (B,): how much each instance looks like the target, apart from any graph."""
    return torch.sigmoid(discriminator(features_BD.detach()))


def domain_accuracy(p_source_B: Tensor, p_target_B: Tensor) -> Tensor:
    """Percent of instances whose domain the discriminator names; at exactly 0.5 it names the source."""
    right = (p_source_B <= 0.5).sum() + (p_target_B > 0.5).sum()
    return 100.0 * right / (len(p_source_B) + len(p_target_B))
