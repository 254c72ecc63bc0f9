"""Relative norm alignment: features of all modalities are brought to one mean length, in each domain.

Planamente et al., "Domain Generalization through Audio-Visual Relative Norm Alignment in First Person Action
Recognition", WACV 2022 (arXiv 2110.10101). Where one modality's features are longer than another's, it rules the sum of
the logits, and it is by the domain which one does.

[R] recalled, not verified; [D] our own choice.

- Theirs, for two modalities: (mean|f_a| / mean|f_v| - 1)^2, batch means of the L2 norms [R]. It prefers one of the two,
  and has no form for three. Ours: the sum over pairs of (log mean|f_i| - log mean|f_j|)^2, which is the same to second
  order where the norms are close [D].
- A term for the source and one for the target; they are added [D]. Nothing ties the domains' norms to each other.
- The ratios are logged whatever the weight: with `loss_weight: 0` they are what the loss would work on.

Shapes: B clips, D features.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor

from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, at_least_float32
from epicsub.recipe.unlabelled import RNAAdaptation

SHORTEST = 1e-6  # of a mean norm, where every feature of a batch is 0: no gradient there


def norm_differences(features: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Difference of the logarithms of mean norms, of each pair of modalities.

    Args:
        features: (B, D) per modality; D may differ.

    Returns:
        A scalar per pair, 0 where both are equally long.
    """
    logs = {
        name: at_least_float32(f_BD).norm(dim=1).mean().clamp_min(SHORTEST).log() for name, f_BD in features.items()
    }
    return {(one, other): logs[one] - logs[other] for one, other in combinations(logs, 2)}


class RNA(AdaptationMethod):
    """Brings the mean norms of the modalities together in each domain."""

    settings: RNAAdaptation

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Squared differences, summed over pairs and domains."""
        terms, logs = [], dict[str, float | Tensor]()
        for domain, output in (("source", batch.source), ("target", batch.target)):
            features = {name: output.features[name] for name in self.feature_dims}
            for (one, other), difference in norm_differences(features).items():
                terms.append(difference.square())
                logs[f"{domain}/{one}_over_{other}_norm"] = difference.detach().exp()
        return AdaptationLosses(torch.stack(terms).sum(), None, logs, {})
