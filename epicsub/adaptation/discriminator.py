"""Domain discriminators behind a gradient reversal, one per modality. Source has label 0, target label 1.

Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17, 2016; MMIR (arXiv 2311.14281), section 3.3.

Shapes: B instances (Bs of the source, Bt of the target), D features.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.interface import at_least_float32

SLOPE = 0.2  # of the LeakyReLU [C]
RELU = 0.0  # slope of a LeakyReLU that is a ReLU [S]
INIT_STD = 0.1  # of the truncated normal [C]
STEEPNESS = 10.0  # gamma of Ganin et al.

Features = Mapping[str, Tensor]
"""(B, D) per modality."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lam: float) -> Tensor:
        ctx.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.lam * gradient, None


def reverse_gradient(x: Tensor, lam: float) -> Tensor:
    """The same values; the gradient that comes back is multiplied by -lam.

    Args:
        x: any tensor.
        lam: strength of the reversal.

    Returns:
        A view of `x`.
    """
    reversed_x: Tensor = _Reverse.apply(x, lam)
    return reversed_x


def reversal_strength(progress: float, lam_max: float) -> float:
    """lam_max * (2 / (1 + exp(-10 progress)) - 1): 0 at the start of a stage, near lam_max from its half on.

    Args:
        progress: share of the stage's steps done, 0 to 1.
        lam_max: the limit.

    Returns:
        The strength at this step.
    """
    return lam_max * (2.0 / (1.0 + math.exp(-STEEPNESS * progress)) - 1.0)


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
        """Classify the domain.

        Args:
            features_BD: pooled features of one modality.

        Returns:
            (B,) logits of "target".
        """
        logits_B1: Tensor = self.out(F.leaky_relu(self.hidden(features_BD), self.slope))
        return logits_B1.squeeze(1)


class Discriminators(nn.ModuleDict):
    """One discriminator per modality: aligning after fusion would favour the weaker modality (MMIR section 3.3).

    Args:
        feature_dims: D of each modality.
        hidden: hidden units.
        slope: of the LeakyReLU.
    """

    def __init__(self, feature_dims: Mapping[str, int], hidden: int, slope: float = SLOPE) -> None:
        super().__init__({modality: DomainDiscriminator(dim, hidden, slope) for modality, dim in feature_dims.items()})

    def probabilities(self, features: Features) -> dict[str, Tensor]:
        """sigmoid(D(f)): how much each instance looks like the target, outside any graph.

        Args:
            features: of one domain.

        Returns:
            (B,) per modality.
        """
        return {modality: target_probabilities(module, features[modality]) for modality, module in self.items()}

    def alignment(self, source: Features, target: Features, lam: float) -> Tensor:
        """Eq 8, summed over modalities.

        Args:
            source: instances to align.
            target: instances to align.
            lam: strength of the reversal.

        Returns:
            A scalar with the graph to features and discriminators.
        """
        return torch.stack([domain_loss(module, source[m], target[m], lam) for m, module in self.items()]).sum()

    def accuracies(self, source: Features, target: Features) -> dict[str, float | Tensor]:
        """Percent of instances whose domain is recognised; at exactly 0.5 the source is.

        Args:
            source: all instances of the step.
            target: all instances of the step.

        Returns:
            A scalar per modality, under the name of its log.
        """
        p_source, p_target = self.probabilities(source), self.probabilities(target)
        return {f"{m}/discriminator_accuracy": domain_accuracy(p_source[m], p_target[m]) for m in self}


def domain_loss(discriminator: nn.Module, source_BD: Tensor, target_BD: Tensor, lam: float) -> Tensor:
    """Eq 8 for one modality: the mean binary cross-entropy over the instances of both domains.

    The discriminator learns to distinguish them; through the reversal the features learn, times lam, that it cannot.

    Args:
        discriminator: features -> logits.
        source_BD: instances with label 0.
        target_BD: instances with label 1.
        lam: strength of the reversal.

    Returns:
        A scalar.
    """
    both_BD = torch.cat([at_least_float32(source_BD), at_least_float32(target_BD)])
    logits_B = discriminator(reverse_gradient(both_BD, lam))
    labels_B = torch.cat([logits_B.new_zeros(len(source_BD)), logits_B.new_ones(len(target_BD))])
    return F.binary_cross_entropy_with_logits(logits_B, labels_B)


@torch.no_grad()
def target_probabilities(discriminator: nn.Module, features_BD: Tensor) -> Tensor:
    """sigmoid(D(f)): how much each instance looks like the target, outside any graph.

    Args:
        discriminator: features -> logits.
        features_BD: of one domain.

    Returns:
        (B,).
    """
    return torch.sigmoid(discriminator(at_least_float32(features_BD).detach()))


def domain_accuracy(p_source_B: Tensor, p_target_B: Tensor) -> Tensor:
    """Percent of instances whose domain is recognised; at exactly 0.5 the source is.

    Args:
        p_source_B: probability of the target, of source instances.
        p_target_B: of target instances.

    Returns:
        A scalar.
    """
    right = (p_source_B <= 0.5).sum() + (p_target_B > 0.5).sum()
    return 100.0 * right / (len(p_source_B) + len(p_target_B))


def relevance(p_target_B: Tensor, domain: str) -> Tensor:
    """Delta of MMIR's Eq 3: how much an instance looks like one of the other domain.

    Args:
        p_target_B: probability of the target.
        domain: source or target, of the instances.

    Returns:
        (B,).
    """
    return p_target_B if domain == "source" else 1.0 - p_target_B
