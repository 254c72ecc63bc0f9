"""MM-SADA (Munro and Damen, "Multi-modal Domain Adaptation for Fine-grained Action Recognition", CVPR 2020,
arXiv 2001.09691): a discriminator a modality, and self-supervision by modality correspondence.

[S] the authors' code (jonmun/MM-SADA-code, 69fe0f7), read and never run or copied, [D] our own choice.

- Stage 1 classifies and learns correspondence, stage 2 aligns too. Weights a stage [S]: correspondence 5 then 1, domain
  0 then 1, classification 1 then 0.2 (train.stages.N.class_weight), reversal up to 0.2. So stage 1 sees the target.
- Discriminators D-100-ReLU-2 [S], with one logit in place of two [D], the same functions.
- The class loss reads corresponding source clips alone [S]: in the authors' code the flow of the others is another
  clip's. Here the roll happens on features, after the streams, to the same effect, and the rest is left out too.
- The authors shuffle which clips are rolled; ours come shuffled from the loader.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from epicsub.adaptation.correspondence import RELU, Correspondence, corresponding, same_class_rate
from epicsub.adaptation.discriminator import discriminators, domain_accuracy, domain_loss, target_probabilities
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.adaptation.reversal import reversal_strength
from epicsub.errors import AdaptationError


class MMSADA(AdaptationMethod):
    """Adversarial alignment and modality correspondence.

    Args:
        feature_dims: D of each modality, two or more.
        adversarial_weights: of the domain loss, one a stage.
        correspondence_weights: of the correspondence loss, one a stage.
        lam_max: strength of the reversal at the end of a stage.
        discriminator_hidden: hidden units of the discriminators.
        correspondence_hidden: hidden units of the correspondence classifier.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        adversarial_weights: Sequence[float] = (0.0, 1.0),
        correspondence_weights: Sequence[float] = (5.0, 1.0),
        lam_max: float = 0.2,
        discriminator_hidden: int = 100,
        correspondence_hidden: int = 100,
    ) -> None:
        super().__init__()
        self.feature_dims, self.lam_max = dict(feature_dims), lam_max
        self.adversarial_weights = tuple(adversarial_weights)
        self.correspondence_weights = tuple(correspondence_weights)
        self.discriminators = discriminators(feature_dims, discriminator_hidden, RELU)
        self.correspondence = Correspondence(feature_dims, correspondence_hidden)

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Of the discriminators and the correspondence classifier."""
        return self.parameters()

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Both losses with the stage's weights.

        Raises:
            AdaptationError: features do not fit the method, or there is no weight for the stage.
        """
        source, target = batch.source.features, batch.target.features
        check_features(source, target, self.feature_dims)
        if batch.stage >= min(len(self.adversarial_weights), len(self.correspondence_weights)):
            raise AdaptationError(f"MM-SADA has no weights for stage {batch.stage + 1}")
        lam = reversal_strength(batch.progress, self.lam_max)
        correspondence, right = self.correspondence(source, target)
        logs: dict[str, float | Tensor] = {
            "reversal": lam,
            "loss_correspondence": correspondence.detach(),
            "correspondence_accuracy": right,
            "rolled_pairs_of_one_verb": same_class_rate(batch.verb_B),
        }
        loss = self.correspondence_weights[batch.stage] * correspondence
        if self.adversarial_weights[batch.stage]:
            domain = []
            for modality, discriminator in self.discriminators.items():
                fs, ft = at_least_float32(source[modality]), at_least_float32(target[modality])
                p_s, p_t = target_probabilities(discriminator, fs), target_probabilities(discriminator, ft)
                logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p_s, p_t)
                domain.append(domain_loss(discriminator, fs, ft, lam))
            loss = loss + self.adversarial_weights[batch.stage] * torch.stack(domain).sum()
        chosen_B = corresponding(len(batch.verb_B)).to(batch.verb_B.device)
        return AdaptationLosses(loss, None, logs, {}, chosen_B)
