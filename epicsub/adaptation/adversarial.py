"""Adversarial alignment alone: MMIR (arXiv 2311.14281) without its agents, and so the control for it."""

from collections.abc import Mapping

from epicsub.adaptation.discriminator import Discriminators, reversal_strength
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.adaptation.mm_sada import optional_correspondence
from epicsub.recipe.adaptation import AdversarialAdaptation


class Adversarial(AdaptationMethod):
    """One domain discriminator per modality behind a gradient reversal (MMIR Eq 8 on the whole batch).

    Args:
        feature_dims: D of each modality.
        settings: the recipe's section.
    """

    settings: AdversarialAdaptation

    def __init__(self, feature_dims: Mapping[str, int], settings: AdversarialAdaptation) -> None:
        super().__init__(feature_dims, settings)
        self.discriminators = Discriminators(feature_dims, settings.discriminator_hidden)
        self.correspondence = optional_correspondence(feature_dims, settings.correspondence_weight)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Align both domains; only the features and the progress are read."""
        source, target = batch.source.features, batch.target.features
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        logs = {"reversal": lam, **self.discriminators.accuracies(source, target)}
        loss = self.discriminators.alignment(source, target, lam)
        if self.correspondence is not None:
            correspondence, logs["correspondence_accuracy"] = self.correspondence(source, target)
            loss = loss + self.settings.correspondence_weight * correspondence
        return AdaptationLosses(loss, None, logs, {})
