"""Adversarial alignment, of all instances or of those that a rule keeps: the controls for MMIR's agents.

`Adversarial` is MMIR (arXiv 2311.14281) without its agents. The rules are ours, not the paper's.

Each step the batch of each domain is dealt into candidate sets as for MMIR (`candidates` instances per set, the
remainder untouched), and of each set the `removals` instances that the rule scores highest are left out of the domain
loss. Nothing is learnt: what differs from MMIR is only who chooses.

- `random_removal`: uniformly at random. What a gain of MMIR must beat: a smaller batch for the domain loss.
- `min_delta`: the lowest relevance Delta (Eq 3), which is what the agents are rewarded for finding.
- `oracle`: planted outliers first, known by their narration ids; among equals at random. The ceiling. It reads what no
  method may know, and works on synthetic data alone.

Shapes: B instances of one domain, K = B // N candidate sets of N, D features.
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from epicsub.adaptation.discriminator import Discriminators, relevance, reversal_strength
from epicsub.adaptation.dqn import candidate_sets
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, kept_positions
from epicsub.adaptation.mm_sada import optional_correspondence
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import (
    AdversarialAdaptation,
    MinDeltaAdaptation,
    OracleAdaptation,
    RandomRemovalAdaptation,
)


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


class RuleRemoval(AdaptationMethod):
    """One discriminator per modality, on the instances that a rule keeps.

    Args:
        feature_dims: D of each modality.
        settings: the recipe's section; its class names the rule.
        outliers: narration ids of planted instances of both domains, for the oracle.
    """

    settings: RandomRemovalAdaptation | MinDeltaAdaptation | OracleAdaptation

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        settings: RandomRemovalAdaptation | MinDeltaAdaptation | OracleAdaptation,
        outliers: Collection[str] = (),
    ) -> None:
        super().__init__(feature_dims, settings)
        self.outliers = frozenset(outliers)
        self.discriminators = Discriminators(feature_dims, settings.discriminator_hidden)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Remove what the rule says, and align the others (Eq 8)."""
        features = {"source": batch.source.features, "target": batch.target.features}
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        logs = {"reversal": lam, **self.discriminators.accuracies(features["source"], features["target"])}
        p = {domain: self.discriminators.probabilities(by_modality) for domain, by_modality in features.items()}
        kept: dict[str, dict[str, Tensor]] = {"source": {}, "target": {}}
        removed = {}
        for modality in self.feature_dims:
            for domain, by_modality in features.items():
                score_B = self.scores(batch, domain, relevance(p[domain][modality], domain))
                positions = self._highest_of_sets(score_B, batch.generator)
                removed[f"{modality}_{domain}"] = positions
                kept[domain][modality] = by_modality[modality][kept_positions(positions, len(score_B))]
        return AdaptationLosses(self.discriminators.alignment(kept["source"], kept["target"], lam), None, logs, removed)

    def scores(self, batch: AdaptationBatch, domain: str, delta_B: Tensor) -> Tensor:
        """The rule: instances with the highest scores are removed.

        Args:
            batch: of the step.
            domain: source or target.
            delta_B: relevance of the instances.

        Returns:
            (B,).

        Raises:
            AdaptationError: the oracle lacks narration ids.
        """
        if isinstance(self.settings, MinDeltaAdaptation):
            return -delta_B
        random_B = torch.rand(len(delta_B), generator=batch.generator).to(delta_B.device)
        if isinstance(self.settings, RandomRemovalAdaptation):
            return random_B
        ids = batch.source_ids if domain == "source" else batch.target_ids
        if len(ids) != len(delta_B):
            raise AdaptationError(f"the oracle needs the {len(delta_B)} narration ids of the {domain}, got {len(ids)}")
        planted_B = torch.tensor([narration_id in self.outliers for narration_id in ids], device=delta_B.device)
        return planted_B + 0.5 * random_B

    def _highest_of_sets(self, score_B: Tensor, generator: torch.Generator) -> Tensor:
        """Deal the batch into sets and return the positions of each set's highest scores, sorted."""
        candidates = self.settings.candidates
        if len(score_B) < candidates:
            raise AdaptationError(f"a batch must fill a candidate set of {candidates}; got {len(score_B)} instances")
        sets_KN = candidate_sets(len(score_B), candidates, generator).to(score_B.device)
        best_KE = score_B[sets_KN].topk(self.settings.removals, dim=1).indices
        return sets_KN.gather(1, best_KE).flatten().sort().values
