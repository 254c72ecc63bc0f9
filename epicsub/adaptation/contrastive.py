"""Contrastive learning across modalities and across domains, in the style of Kim et al.

"Learning Cross-Modal Contrastive Features for Video Domain Adaptation", ICCV 2021 (arXiv 2108.11974).

NOT a reproduction: the paper was known here from its abstract alone ("each modality in a domain is a view",
contrastive losses across modalities and domains "with properly designed sampling"). What follows is our own design [D];
numbers marked [R] are recalled and not verified. Its results are ours, not the paper's.

- z = unit vector of an MLP D-512-128 per modality [D].
- L_mod: symmetric InfoNCE between two modalities of the same clip, the batch's other clips as negatives, in each
  domain; summed over domains and pairs of modalities.
- L_dom, per modality: supervised contrastive loss (Khosla et al., NeurIPS 2020) with a target clip as anchor, the
  source clips of its predicted class as positives, all other source clips as negatives. Anchors are target clips whose
  fused softmax is at least 0.8 sure [R]; those without a positive in the batch are left out. Summed over modalities.
- The class is the verb, as on the paper's benchmark; `label` takes the noun or the pair instead.
- Temperature 0.1 [R], weights 1 [D].

Shapes: B clips (Bs of the source, Bt of the target), D features, Z dimensions of z.
"""

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod, at_least_float32
from epicsub.constants import ACTION_BASE
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.adaptation import ContrastiveAdaptation


def info_nce(one_BZ: Tensor, other_BZ: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al., 2018): row i of one belongs to row i of the other.

    Args:
        one_BZ: unit vectors.
        other_BZ: unit vectors.
        temperature: of the similarity.

    Returns:
        A scalar.
    """
    similarity_BB = one_BZ @ other_BZ.T / temperature
    own_B = torch.arange(len(one_BZ), device=one_BZ.device)
    return 0.5 * (F.cross_entropy(similarity_BB, own_B) + F.cross_entropy(similarity_BB.T, own_B))


def supervised_contrastive(
    anchors_AZ: Tensor, others_BZ: Tensor, positive_AB: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Mean over anchors of the mean over their positives of -log softmax of the similarity.

    Args:
        anchors_AZ: unit vectors.
        others_BZ: unit vectors.
        positive_AB: bool; an anchor without a positive contributes nothing.
        temperature: of the similarity.

    Returns:
        The loss, and how many anchors had a positive.
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
        settings: the recipe's section.
    """

    settings: ContrastiveAdaptation

    def __init__(self, feature_dims: Mapping[str, int], settings: ContrastiveAdaptation) -> None:
        super().__init__(feature_dims, settings)
        hidden, dim = settings.hidden, settings.dim
        self.projections = nn.ModuleDict(
            {
                modality: nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))
                for modality, features in feature_dims.items()
            }
        )

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Both losses with their weights."""
        settings = self.settings
        source, target = self._project(batch.source.features), self._project(batch.target.features)
        pairs = list(combinations(self.feature_dims, 2))
        modal = torch.stack(
            [info_nce(z[one], z[other], settings.temperature) for z in (source, target) for one, other in pairs]
        ).sum()
        predicted_B, sure_B = predicted_class(batch.target, settings.label, settings.confidence)
        positive_AB = predicted_B[:, None] == _class_of(batch, settings.label)[None]
        positive_AB = positive_AB & sure_B[:, None]
        terms, used = zip(
            *(
                supervised_contrastive(target[m], source[m], positive_AB, settings.temperature)
                for m in self.feature_dims
            ),
            strict=True,
        )
        domain = torch.stack(terms).sum()
        logs: dict[str, float | Tensor] = {
            "loss_modal": modal.detach(),
            "loss_domain": domain.detach(),
            "sure_target_clips": 100.0 * sure_B.float().mean(),
            "anchors": used[0].float(),
        }
        return AdaptationLosses(settings.modal_weight * modal + settings.domain_weight * domain, None, logs, {})

    def _project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            modality: F.normalize(projection(at_least_float32(features[modality])), dim=1)
            for modality, projection in self.projections.items()
        }


def _class_of(batch: AdaptationBatch, label: str) -> Tensor:
    """Classes of the source clips, (Bs,)."""
    return {"verb": batch.verb_B, "noun": batch.noun_B, "action": batch.verb_B * ACTION_BASE + batch.noun_B}[label]


@torch.no_grad()
def predicted_class(output: TwoHeadOutput, label: str, confidence: float) -> tuple[Tensor, Tensor]:
    """The most likely class of the fused logits.

    Args:
        output: of the target.
        label: verb, noun or action.
        confidence: least probability of a class.

    Returns:
        The class (B,), and the mask (B,) of clips whose probability reaches `confidence`.
    """
    (p_verb_B, verb_B), (p_noun_B, noun_B) = (
        logits.softmax(dim=1).max(dim=1) for logits in (output.verb_logits_BV, output.noun_logits_BN)
    )
    predicted, p = {
        "verb": (verb_B, p_verb_B),
        "noun": (noun_B, p_noun_B),
        "action": (verb_B * ACTION_BASE + noun_B, p_verb_B * p_noun_B),
    }[label]
    return predicted, p >= confidence
