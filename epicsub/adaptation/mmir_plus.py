"""MMIR plus: instance refinement by what the task says of an instance. Ours, NOT the MMIR paper's (arXiv 2311.14281).

It keeps the paper's frame, taking a share of both domains' instances out of the adversarial alignment in every step,
and changes what marks them. The paper's relevance asks the discriminator, which gradient reversal keeps near chance: in
benchmarks/simulation the reward that follows from it hardly marks outliers. Here:

- Source: the entropy of the class prediction, verbs plus nouns. After stage 1 the model has seen the label of every
  source clip many times; where it is still torn, the clip does not show what its label says.
- Target: the distance to the nearest source class, in the covariance that source clips have around their class means
  (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
  2018): what is like no class of the source cannot be aligned with one. The modalities' ranks within the batch are
  added, so that all of them leave out the same clips.
- The share with the largest values goes, out of the whole batch and not one out of every five, and without agents:
  there is nothing to explore where every instance's value is known.

Class means and covariance are running sums over source batches, of detached features. No target label and no flag of a
planted outlier is read. All source clips enter the classification loss, as for MMIR.

Shapes: B instances, D features, V verb classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from epicsub.adaptation.discriminator import discriminators, domain_accuracy, domain_loss, target_probabilities
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.adaptation.removal import without
from epicsub.adaptation.reversal import reversal_strength
from epicsub.adaptation.task import ClassStatistics, entropy, ranks
from epicsub.constants import NUM_VERBS
from epicsub.errors import AdaptationError


class MMIRPlus(AdaptationMethod):
    """Adversarial alignment without the least certain source and the farthest target instances.

    Args:
        feature_dims: D of each modality.
        lam_max: strength of the gradient reversal at the end.
        discriminator_hidden: hidden units of the discriminators.
        share: of each domain's batch that is taken out, rounded to whole instances.
        classes: V, verb classes.

    Raises:
        AdaptationError: a share that leaves nothing.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        lam_max: float = 0.2,
        discriminator_hidden: int = 128,
        share: float = 0.2,
        classes: int = NUM_VERBS,
    ) -> None:
        super().__init__()
        if not 0.0 <= share < 1.0:
            raise AdaptationError(f"share {share}: must be at least 0 and below 1")
        self.feature_dims, self.lam_max, self.share = dict(feature_dims), lam_max, share
        self.discriminators = discriminators(feature_dims, discriminator_hidden)
        self.statistics = nn.ModuleDict({m: ClassStatistics(classes, dim) for m, dim in feature_dims.items()})

    def alignment_parameters(self) -> list[nn.Parameter]:
        """Of the discriminators: they are stepped with the backbone."""
        return list(self.discriminators.parameters())

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Take out the unfit, and align the rest (Eq 8).

        Raises:
            AdaptationError: features do not fit the method.
        """
        source, target = batch.source.features, batch.target.features
        check_features(source, target, self.feature_dims)
        lam = reversal_strength(batch.progress, self.lam_max)
        gone = {"source": self._most(self.source_unfitness(batch)), "target": self._most(self.target_unfitness(batch))}
        logs: dict[str, float | Tensor] = {"reversal": lam}
        removed, alignment = {}, []
        for modality, discriminator in self.discriminators.items():
            features = {"source": at_least_float32(source[modality]), "target": at_least_float32(target[modality])}
            p_s, p_t = (target_probabilities(discriminator, f_BD) for f_BD in features.values())
            logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p_s, p_t)
            kept = {domain: without(f_BD, gone[domain]) for domain, f_BD in features.items()}
            removed.update({f"{modality}_{domain}": positions for domain, positions in gone.items()})
            alignment.append(domain_loss(discriminator, kept["source"], kept["target"], lam))
        return AdaptationLosses(torch.stack(alignment).sum(), None, logs, removed)

    @torch.no_grad()
    def source_unfitness(self, batch: AdaptationBatch) -> Tensor:
        """Entropy of verbs plus nouns, (Bs,)."""
        return entropy(batch.source.verb_logits_BV) + entropy(batch.source.noun_logits_BN)

    @torch.no_grad()
    def target_unfitness(self, batch: AdaptationBatch) -> Tensor:
        """Rank of the distance to the source's classes, summed over modalities, (Bt,); learns from the source batch."""
        total = torch.zeros(())
        for modality, module in self.statistics.items():
            assert isinstance(module, ClassStatistics)
            module.update(batch.source.features[modality], batch.verb_B)
            total = total.to(module.total.device) + ranks(module.distance(batch.target.features[modality]))
        return total

    def _most(self, unfitness_B: Tensor) -> Tensor:
        """Positions of the share with the largest values, sorted."""
        return unfitness_B.topk(round(self.share * len(unfitness_B))).indices.sort().values
