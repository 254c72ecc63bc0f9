"""Adversarial alignment on what a plain rule keeps: the controls for MMIR's agents, ours and not the paper's.

Each step the batch of each domain is dealt into candidate sets as for MMIR (`candidates` instances a set, what is left
over untouched), and of each set the `removals` instances that the rule scores highest are kept from the domain loss.
Nothing is learnt: what differs from MMIR is only who chooses.

- `random_removal`: evenly at random. What a gain of MMIR must beat: a smaller batch for the domain loss.
- `min_delta`: the lowest relevance Delta (Eq 3), which is what the agents are rewarded for finding.
- `Oracle`: planted outliers first, known by their narration ids; among equals at random. The ceiling. It reads what no
  method may know, and works on made-up data alone.

Shapes: B instances of one domain, K = B // N candidate sets of N, D features.
"""

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from epicsub.adaptation.discriminator import discriminators, domain_accuracy, domain_loss, target_probabilities
from epicsub.adaptation.dqn import candidate_sets
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.adaptation.relevance import relevance
from epicsub.adaptation.reversal import reversal_strength
from epicsub.errors import AdaptationError

Rule = Callable[[AdaptationBatch, str, Tensor], Tensor]
"""(batch, domain, relevance Delta (B,)) -> score (B,); the highest go."""


def random_removal(batch: AdaptationBatch, domain: str, delta_B: Tensor) -> Tensor:
    """Any, evenly."""
    return torch.rand(len(delta_B), generator=batch.generator).to(delta_B.device)


def min_delta(batch: AdaptationBatch, domain: str, delta_B: Tensor) -> Tensor:
    """The lowest relevance first."""
    return -delta_B


class Oracle:
    """Planted outliers first, then any.

    Args:
        outliers: narration ids of planted instances of both domains.
    """

    def __init__(self, outliers: Collection[str]) -> None:
        self.outliers = frozenset(outliers)

    def __call__(self, batch: AdaptationBatch, domain: str, delta_B: Tensor) -> Tensor:
        """Score (B,)."""
        ids = batch.source_ids if domain == "source" else batch.target_ids
        if len(ids) != len(delta_B):
            raise AdaptationError(f"the oracle needs the {len(delta_B)} narration ids of the {domain}, got {len(ids)}")
        planted_B = torch.tensor([narration_id in self.outliers for narration_id in ids], device=delta_B.device)
        return planted_B + 0.5 * random_removal(batch, domain, delta_B)


class RuleRemoval(AdaptationMethod):
    """One discriminator a modality, on what a rule keeps.

    Args:
        feature_dims: D of each modality.
        rule: scores the instances of a domain in a modality.
        lam_max: strength of the gradient reversal at the end.
        discriminator_hidden: hidden units of the discriminators.
        candidates: N, instances in a candidate set.
        removals: instances taken out of each set.

    Raises:
        AdaptationError: more removals than a set can spare.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        rule: Rule,
        lam_max: float = 0.2,
        discriminator_hidden: int = 128,
        candidates: int = 5,
        removals: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= removals < candidates:
            raise AdaptationError(f"removals {removals}: must take one of the {candidates} candidates, and leave one")
        self.feature_dims, self.rule, self.lam_max = dict(feature_dims), rule, lam_max
        self.candidates, self.removals = candidates, removals
        self.discriminators = discriminators(feature_dims, discriminator_hidden)

    def alignment_parameters(self) -> list[torch.nn.Parameter]:
        """Of the discriminators: they are stepped with the backbone."""
        return list(self.discriminators.parameters())

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Take out what the rule says, and align the rest (Eq 8).

        Raises:
            AdaptationError: features do not fit the method, or a batch is smaller than a candidate set.
        """
        source, target = batch.source.features, batch.target.features
        check_features(source, target, self.feature_dims)
        lam = reversal_strength(batch.progress, self.lam_max)
        logs: dict[str, float | Tensor] = {"reversal": lam}
        removed, alignment = {}, []
        for modality, discriminator in self.discriminators.items():
            features = {"source": at_least_float32(source[modality]), "target": at_least_float32(target[modality])}
            p = {domain: target_probabilities(discriminator, f_BD) for domain, f_BD in features.items()}
            logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p["source"], p["target"])
            kept = {}
            for domain, f_BD in features.items():
                score_B = self.rule(batch, domain, relevance(p[domain], domain))
                gone = highest_of_sets(score_B, self.candidates, self.removals, batch.generator)
                removed[f"{modality}_{domain}"] = gone
                kept[domain] = without(f_BD, gone)
            alignment.append(domain_loss(discriminator, kept["source"], kept["target"], lam))
        return AdaptationLosses(torch.stack(alignment).sum(), None, logs, removed)


def highest_of_sets(score_B: Tensor, candidates: int, removals: int, generator: torch.Generator) -> Tensor:
    """Deal the batch into sets and give the positions of each set's `removals` highest scores, sorted.

    Raises:
        AdaptationError: the batch is smaller than a set.
    """
    if len(score_B) < candidates:
        raise AdaptationError(f"a batch must fill a candidate set of {candidates}; got {len(score_B)} instances")
    sets_KN = candidate_sets(len(score_B), candidates, generator).to(score_B.device)
    best_KE = score_B[sets_KN].topk(removals, dim=1).indices
    return sets_KN.gather(1, best_KE).flatten().sort().values


def without(features_BD: Tensor, gone: Tensor) -> Tensor:
    """The rows that are not among `gone`, in order."""
    keep_B = torch.ones(len(features_BD), dtype=torch.bool, device=features_BD.device)
    keep_B[gone] = False
    return features_BD[keep_B]
