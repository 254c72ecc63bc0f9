"""MMIR plus: instance refinement by what the task says of an instance. Ours, NOT the MMIR paper's (arXiv 2311.14281).

It keeps the paper's frame, removing a share of both domains' instances from the adversarial alignment in every step,
and changes what marks them: the entropy of the prediction on the source, the distance to the nearest source class on
the target (task.py). The modalities' ranks of the distance within the batch are added, so that all of them leave out
the same clips. The share with the largest values is removed, of the whole batch and not one of every five, and without
agents: there is nothing to explore where every instance's value is known. All source clips enter the classification
loss, as for MMIR.

Shapes: B instances (Bs of the source, Bt of the target).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from epicsub.adaptation.discriminator import Discriminators, reversal_strength
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    kept_positions,
)
from epicsub.adaptation.task import TaskStatistics, entropy
from epicsub.constants import NUM_VERBS
from epicsub.recipe.adaptation import MMIRPlusAdaptation


class MMIRPlus(AdaptationMethod):
    """Adversarial alignment without the least certain source and the farthest target instances.

    Args:
        feature_dims: D of each modality.
        settings: the recipe's section.
        classes: V, verb classes.
    """

    settings: MMIRPlusAdaptation

    def __init__(self, feature_dims: Mapping[str, int], settings: MMIRPlusAdaptation, classes: int = NUM_VERBS) -> None:
        super().__init__(feature_dims, settings)
        self.discriminators = Discriminators(feature_dims, settings.discriminator_hidden)
        self.statistics = TaskStatistics(feature_dims, classes)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Remove the unfit instances, and align the others (Eq 8)."""
        features = {"source": batch.source.features, "target": batch.target.features}
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        logs = {"reversal": lam, **self.discriminators.accuracies(features["source"], features["target"])}
        unfitness = {"source": self.source_unfitness(batch), "target": self.target_unfitness(batch)}
        positions = {domain: self._largest(unfitness_B) for domain, unfitness_B in unfitness.items()}
        kept = {
            domain: {m: f_BD[kept_positions(positions[domain], len(f_BD))] for m, f_BD in by_modality.items()}
            for domain, by_modality in features.items()
        }
        removed = {f"{m}_{domain}": positions[domain] for m in self.feature_dims for domain in features}
        return AdaptationLosses(self.discriminators.alignment(kept["source"], kept["target"], lam), None, logs, removed)

    @torch.no_grad()
    def source_unfitness(self, batch: AdaptationBatch) -> Tensor:
        """Entropy of verbs plus nouns.

        Args:
            batch: of the step.

        Returns:
            (Bs,).
        """
        return entropy(batch.source.verb_logits_BV) + entropy(batch.source.noun_logits_BN)

    @torch.no_grad()
    def target_unfitness(self, batch: AdaptationBatch) -> Tensor:
        """Rank of the distance to the source's classes, summed over modalities; learns from the source batch.

        Args:
            batch: of the step.

        Returns:
            (Bt,).
        """
        self.statistics.learn(batch.source, batch.verb_B)
        return torch.stack(list(self.statistics.distance_ranks(batch.target).values())).sum(0).float()

    def _largest(self, unfitness_B: Tensor) -> Tensor:
        """Positions of the share with the largest values, sorted."""
        return unfitness_B.topk(round(self.settings.share * len(unfitness_B))).indices.sort().values
