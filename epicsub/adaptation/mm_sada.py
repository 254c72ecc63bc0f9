"""MM-SADA: a discriminator per modality, and self-supervision by modality correspondence.

Munro and Damen, "Multi-modal Domain Adaptation for Fine-grained Action Recognition", CVPR 2020 (arXiv 2001.09691).

[S] the authors' code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- Stage 1 classifies and learns correspondence, stage 2 aligns too. Weights per stage [S]: correspondence 5 then 1,
  domain 0 then 1, classification 1 then 0.2 (train.stages.N.class_weight), reversal up to 0.2. So stage 1 sees the
  target.
- Discriminators D-100-ReLU-2 [S], with one logit in place of two [D], the same functions.
- The class loss reads corresponding source clips alone [S]: in the authors' code the flow of the others is another
  clip's. Here the roll happens on features, after the streams, to the same effect, and the rest is left out too. The
  recipes draw twice as many source clips, so that it reads as many as another method's does [D].
- The authors shuffle which clips are rolled; ours come shuffled from the loader.

Correspondence: do the features of the modalities belong to one clip? Other methods have it as an option.

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

from epicsub.adaptation.discriminator import RELU, Discriminators, DomainDiscriminator, reversal_strength
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, at_least_float32
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import MMSADAAdaptation


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
    return 100.0 * (verb_B[_partners(count).to(verb_B.device)] == verb_B)[count // 2 :].float().mean()


class MMSADA(AdaptationMethod):
    """Adversarial alignment and modality correspondence, of two modalities or more."""

    settings: MMSADAAdaptation

    def __init__(self, feature_dims: Mapping[str, int], settings: MMSADAAdaptation) -> None:
        super().__init__(feature_dims, settings)
        self.discriminators = Discriminators(feature_dims, settings.discriminator_hidden, RELU)
        self.correspondence = Correspondence(feature_dims, settings.correspondence_hidden)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Both losses with the stage's weights."""
        source, target = batch.source.features, batch.target.features
        weights = self.settings.adversarial_weights, self.settings.correspondence_weights
        if batch.stage >= min(map(len, weights)):
            raise AdaptationError(
                f"adaptation: MM-SADA has no weights for stage {batch.stage + 1}; give adversarial_weights and "
                "correspondence_weights one more"
            )
        adversarial_weight, correspondence_weight = (of_stages[batch.stage] for of_stages in weights)
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        correspondence, accuracy = self.correspondence(source, target)
        logs: dict[str, float | Tensor] = {
            "reversal": lam,
            "loss_correspondence": correspondence.detach(),
            "correspondence_accuracy": accuracy,
            "rolled_pairs_of_one_verb": same_class_rate(batch.verb_B),
        }
        loss = correspondence_weight * correspondence
        if adversarial_weight:
            logs |= self.discriminators.accuracies(source, target)
            loss = loss + adversarial_weight * self.discriminators.alignment(source, target, lam)
        chosen_B = corresponding(len(batch.verb_B)).to(batch.verb_B.device)
        return AdaptationLosses(loss, None, logs, {}, chosen_B)
