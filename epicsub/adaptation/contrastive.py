"""Contrastive learning across modalities and across domains, in the style of Kim et al., "Learning Cross-Modal
Contrastive Features for Video Domain Adaptation", ICCV 2021 (arXiv 2108.11974).

NOT a reproduction: the paper was known here from its abstract alone ("each modality in a domain is a view",
contrastive losses across modalities and domains "with properly designed sampling"). What follows is our own design [D];
numbers marked [R] are recalled and not verified. Its results are ours, not the paper's.

- z = unit vector of an MLP D-512-128 a modality [D].
- L_mod: symmetric InfoNCE between two modalities of the same clip, the batch's other clips as negatives, in each
  domain; summed over domains and pairs of modalities.
- L_dom, a modality: supervised contrastive loss (Khosla et al., NeurIPS 2020) with a target clip as anchor, the source
  clips of its predicted class as positives, all other source clips as negatives. Anchors are target clips whose fused
  softmax is at least 0.8 sure [R]; those without a positive in the batch are left out. Summed over modalities.
- The class is the verb, as on the paper's benchmark; `label` takes the noun or the pair instead.
- Temperature 0.1 [R], weights 1 [D].

Shapes: B clips (Bs of the source, Bt of the target), D features, Z dimensions of z.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput

PAIR = 1000  # action id = verb * 1000 + noun, as in epicsub/constants.py


def info_nce(one_BZ: Tensor, other_BZ: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al., 2018) of unit vectors: row i of one belongs to row i of the other."""
    similarity_BB = one_BZ @ other_BZ.T / temperature
    own_B = torch.arange(len(one_BZ), device=one_BZ.device)
    return 0.5 * (F.cross_entropy(similarity_BB, own_B) + F.cross_entropy(similarity_BB.T, own_B))


def supervised_contrastive(
    anchors_AZ: Tensor, others_BZ: Tensor, positive_AB: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Mean over anchors of the mean over their positives of -log softmax of the similarity, and how many had any.

    Args:
        anchors_AZ: unit vectors.
        others_BZ: unit vectors.
        positive_AB: bool; an anchor without a positive contributes nothing.
        temperature: of the similarity.
    """
    logprob_AB = F.log_softmax(anchors_AZ @ others_BZ.T / temperature, dim=1)
    count_A = positive_AB.sum(dim=1)
    used_A = count_A > 0
    per_anchor_A = -(logprob_AB * positive_AB).sum(dim=1) / count_A.clamp_min(1)
    used = used_A.sum()
    return (per_anchor_A * used_A).sum() / used.clamp_min(1), used


class Contrastive(AdaptationMethod):
    """Contrast of clips across modalities, and of target clips with source clips of their predicted class.

    Args:
        feature_dims: D of each modality, two or more.
        label: what makes two clips of one class.
        temperature: of both losses.
        confidence: least probability of a target clip's class for it to be an anchor.
        modal_weight: of L_mod.
        domain_weight: of L_dom.
        hidden: units of the projections' layer between.
        dim: Z.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        label: Literal["verb", "noun", "action"] = "verb",
        temperature: float = 0.1,
        confidence: float = 0.8,
        modal_weight: float = 1.0,
        domain_weight: float = 1.0,
        hidden: int = 512,
        dim: int = 128,
    ) -> None:
        super().__init__()
        if len(feature_dims) < 2:
            raise AdaptationError(f"contrastive needs two modalities or more; there is {', '.join(feature_dims)}")
        self.feature_dims, self.label = dict(feature_dims), label
        self.temperature, self.confidence = temperature, confidence
        self.modal_weight, self.domain_weight = modal_weight, domain_weight
        self.projections = nn.ModuleDict(
            {
                modality: nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))
                for modality, features in feature_dims.items()
            }
        )

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Of the projections."""
        return self.projections.parameters()

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Both losses with their weights.

        Raises:
            AdaptationError: features do not fit the method.
        """
        check_features(batch.source.features, batch.target.features, self.feature_dims)
        source, target = self._project(batch.source.features), self._project(batch.target.features)
        pairs = list(combinations(self.feature_dims, 2))
        modal = torch.stack(
            [info_nce(z[one], z[other], self.temperature) for z in (source, target) for one, other in pairs]
        ).sum()
        predicted_B, sure_B = predicted_class(batch.target, self.label, self.confidence)
        positive_AB = predicted_B[:, None] == class_of(batch, self.label)[None]
        positive_AB = positive_AB & sure_B[:, None]
        terms, used = zip(
            *(supervised_contrastive(target[m], source[m], positive_AB, self.temperature) for m in self.feature_dims),
            strict=True,
        )
        domain = torch.stack(terms).sum()
        logs: dict[str, float | Tensor] = {
            "loss_modal": modal.detach(),
            "loss_domain": domain.detach(),
            "sure_target_clips": 100.0 * sure_B.float().mean(),
            "anchors": used[0].float(),
        }
        return AdaptationLosses(self.modal_weight * modal + self.domain_weight * domain, None, logs, {})

    def _project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            modality: F.normalize(projection(at_least_float32(features[modality])), dim=1)
            for modality, projection in self.projections.items()
        }


def class_of(batch: AdaptationBatch, label: str) -> Tensor:
    """Classes of the source clips, (Bs,)."""
    return {"verb": batch.verb_B, "noun": batch.noun_B, "action": batch.verb_B * PAIR + batch.noun_B}[label]


@torch.no_grad()
def predicted_class(output: TwoHeadOutput, label: str, confidence: float) -> tuple[Tensor, Tensor]:
    """The class that the fused logits make most likely, and whether its probability reaches `confidence`; both (B,)."""
    (p_verb_B, verb_B), (p_noun_B, noun_B) = (
        logits.softmax(dim=1).max(dim=1) for logits in (output.verb_logits_BV, output.noun_logits_BN)
    )
    predicted, p = {
        "verb": (verb_B, p_verb_B),
        "noun": (noun_B, p_noun_B),
        "action": (verb_B * PAIR + noun_B, p_verb_B * p_noun_B),
    }[label]
    return predicted, p >= confidence
