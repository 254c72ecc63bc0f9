"""Adversarial alignment alone: MMIR (arXiv 2311.14281) without its agents, and so the control for it.

Shapes: B instances (Bs of the source, Bt of the target), D features.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from epicsub.adaptation.correspondence import optional_correspondence
from epicsub.adaptation.discriminator import discriminators, domain_accuracy, domain_loss, target_probabilities
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.adaptation.reversal import reversal_strength


class Adversarial(AdaptationMethod):
    """One domain discriminator a modality behind a gradient reversal (MMIR Eq 8 on the whole batch).

    Args:
        feature_dims: D of each modality.
        lam_max: strength of the reversal at the end; 0.2 [C][S], the paper is silent.
        discriminator_hidden: hidden units of the discriminators; 128 [P].
        correspondence_weight: of MM-SADA's correspondence loss; 0, none [P].
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        lam_max: float = 0.2,
        discriminator_hidden: int = 128,
        correspondence_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.feature_dims, self.lam_max = dict(feature_dims), lam_max
        self.discriminators = discriminators(feature_dims, discriminator_hidden)
        self.correspondence_weight = correspondence_weight
        self.correspondence = optional_correspondence(feature_dims, correspondence_weight)

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Of the discriminators, and of the correspondence classifier if there is one."""
        return self.parameters()

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Losses of one step; only the features and the progress are read.

        Raises:
            AdaptationError: features do not fit the method.
        """
        source, target = batch.source.features, batch.target.features
        check_features(source, target, self.feature_dims)
        lam = reversal_strength(batch.progress, self.lam_max)
        alignment = []
        logs: dict[str, float | Tensor] = {"reversal": lam}
        for modality, discriminator in self.discriminators.items():
            fs, ft = at_least_float32(source[modality]), at_least_float32(target[modality])
            p_s, p_t = target_probabilities(discriminator, fs), target_probabilities(discriminator, ft)
            logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p_s, p_t)
            alignment.append(domain_loss(discriminator, fs, ft, lam))
        loss = torch.stack(alignment).sum()
        if self.correspondence is not None:
            correspondence, logs["correspondence_accuracy"] = self.correspondence(source, target)
            loss = loss + self.correspondence_weight * correspondence
        return AdaptationLosses(loss, None, logs, {})
