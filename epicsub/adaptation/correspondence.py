"""Modality correspondence: do the features of the modalities belong to one clip?

Munro and Damen, "Multi-modal Domain Adaptation for Fine-grained Action Recognition", CVPR 2020.

[S] MM-SADA's code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- In each domain the first half of the batch keeps its pairs; in the second half every modality but the first is rolled
  by one clip, so that no clip there meets its own pair [S]. Of an odd batch the second half is the larger.
- The classifier reads the concatenated features: sum of D - 100 - ReLU - 2 [S]; one logit in place of two [D], the
  same functions. Weights truncated normal 0.1 [S]. Label 1: the pair corresponds.
- No gradient reversal: the features learn to recognise pairs.
- A rolled pair can be of one class, and of one video, and looks as if it corresponded. The share of the source's rolled
  pairs of one verb class is logged; of the target nothing is known.

Shapes: B clips of one domain, D features.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.discriminator import RELU, DomainDiscriminator
from epicsub.adaptation.interface import at_least_float32
from epicsub.errors import AdaptationError


def corresponding(count: int) -> Tensor:
    """The clips that keep their pairs.

    Args:
        count: B.

    Returns:
        (B,) bool.
    """
    return torch.arange(count) < count // 2


def _partners(count: int) -> Tensor:
    """(B,) int64: whose other modalities each clip is paired with; its own in the first half.

    Raises:
        AdaptationError: fewer than 3 clips, of which the rolled half has no partner.
    """
    half = count // 2
    if count - half < 2:  # one clip rolled by one meets itself
        raise AdaptationError(f"correspondence needs batches of 3 clips or more in each domain, got {count}")
    return torch.cat([torch.arange(half), torch.arange(half, count).roll(1)])


class Correspondence(nn.Module):
    """The classifier and its loss.

    Args:
        feature_dims: D of each modality, two or more.
        hidden: units of the hidden layer.

    Raises:
        AdaptationError: there is one modality only.
    """

    def __init__(self, feature_dims: Mapping[str, int], hidden: int = 100) -> None:
        super().__init__()
        if len(feature_dims) < 2:
            raise AdaptationError(f"correspondence needs two modalities or more; there is {', '.join(feature_dims)}")
        self.modalities = tuple(feature_dims)
        self.classifier = DomainDiscriminator(sum(feature_dims.values()), hidden, slope=RELU)

    def forward(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean binary cross-entropy over the clips of both domains.

        Args:
            source: features (Bs, D) per modality.
            target: features (Bt, D) per modality.

        Returns:
            The loss, and the percent of clips classified correctly.
        """
        logits, labels = zip(*(self._pairs(features) for features in (source, target)), strict=True)
        logits_B, labels_B = torch.cat(logits), torch.cat(labels)
        right = 100.0 * ((logits_B > 0) == (labels_B > 0)).float().mean()
        return F.binary_cross_entropy_with_logits(logits_B, labels_B), right

    def _pairs(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and labels of one domain's pairs, both (B,)."""
        first, *others = (at_least_float32(features[modality]) for modality in self.modalities)
        partner_B = _partners(len(first)).to(first.device)
        logits_B = self.classifier(torch.cat([first, *(other[partner_B] for other in others)], dim=1))
        return logits_B, corresponding(len(first)).to(first.device, logits_B.dtype)


def optional_correspondence(feature_dims: Mapping[str, int], weight: float) -> Correspondence | None:
    """For methods that have it as an option.

    Args:
        feature_dims: D of each modality.
        weight: of the loss.

    Returns:
        The classifier, or None for weight 0.
    """
    return Correspondence(feature_dims) if weight else None


def same_class_rate(verb_B: Tensor) -> Tensor:
    """Percent of the source's rolled pairs whose clips are of one verb class.

    Args:
        verb_B: labels of the source.

    Returns:
        A scalar.
    """
    count = len(verb_B)
    rolled = ~corresponding(count).to(verb_B.device)
    return 100.0 * (verb_B[_partners(count).to(verb_B.device)] == verb_B)[rolled].float().mean()
