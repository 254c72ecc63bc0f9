"""MM-SADA: a discriminator per modality, and self-supervision by modality correspondence.

Munro and Damen, "Multi-modal Domain Adaptation for Fine-grained Action Recognition", CVPR 2020 (arXiv 2001.09691).

[S] the authors' code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- Stage 1 classifies and learns correspondence, stage 2 aligns too. Weights per stage [S]: correspondence 5 then 1,
  domain 0 then 1, classification 1 then 0.2 (train.stages.N.class_weight), reversal up to 0.2. So stage 1 sees the
  target.
- Discriminators D-100-ReLU-2 [S], with one logit in place of two [D], the same functions.
- The class loss reads corresponding source clips alone [S]: in the authors' code the flow of the others is another
  clip's. Here the roll happens on features, after the streams, to the same effect, and the rest is left out too.
- The authors shuffle which clips are rolled; ours come shuffled from the loader.
"""

from collections.abc import Mapping

from torch import Tensor

from epicsub.adaptation.correspondence import Correspondence, corresponding, same_class_rate
from epicsub.adaptation.discriminator import RELU, Discriminators, reversal_strength
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import MMSADAAdaptation


class MMSADA(AdaptationMethod):
    """Adversarial alignment and modality correspondence.

    Args:
        feature_dims: D of each modality, two or more.
        settings: the recipe's section.

    Raises:
        AdaptationError: there is one modality only.
    """

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
            raise AdaptationError(f"MM-SADA has no weights for stage {batch.stage + 1}")
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
