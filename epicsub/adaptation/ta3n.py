"""TA3N, the baseline of the UDA challenge, on features of frames (models/temporal_relations.py).

Chen et al., "Temporal Attentive Alignment for Large-Scale Video Domain Adaptation", ICCV 2019.

[O] the authors' code (cmhungsteve/TA3N, 2c65b5d) and the challenge's (jonmun/EPIC-KITCHENS-100_UDA_TA3N), both read and
never run or copied; [D] our own choice. The papers' texts were not at hand: TA3N is described as its code does it.

- Three levels of domain discriminators behind reversals: relations 0.75, videos 0.75, frames 0.5 [O], each times the
  schedule of Ganin et al. in the challenge's script (`warmup`), constant in the authors'. Cross-entropy over all frames
  (relations) of both domains [O]; levels and modalities are summed, unit weights.
- Attention on relations is the model's (see there).
- Attentive entropy [O]: mean over the clips of both domains of (1 + H(d)) * H(y), weight 0.003, half verbs and half
  nouns. d is the video's discriminator, and its entropy carries a gradient too [O]. Of several modalities H(d) is their
  mean [D].
- Frame and video discriminators: Linear, ReLU, Linear to one logit [D], two in [O]. The video's reads its features
  before dropout [D], after it in [O].

Shapes: B clips, T frames, S, R, H as in the model.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation.discriminator import (
    RELU,
    DomainDiscriminator,
    domain_accuracy,
    reversal_strength,
    reverse_gradient,
)
from epicsub.adaptation.interface import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.errors import AdaptationError
from epicsub.models.temporal_relations import Levels, TemporalRelations
from epicsub.recipe.adaptation import TA3NAdaptation
from epicsub.recipe.base import AdaptationSection

NEEDED = "TA3N aligns frames and relations: it needs the model temporal_relations"


def entropy(logits_BC: Tensor) -> Tensor:
    """H of the softmax.

    Args:
        logits_BC: of one head.

    Returns:
        Nats, (B,).
    """
    logprob_BC = logits_BC.log_softmax(dim=-1)
    return -(logprob_BC.exp() * logprob_BC).sum(dim=-1)


def binary_entropy(logits_B: Tensor) -> Tensor:
    """H of a domain given by one logit.

    Args:
        logits_B: of "target".

    Returns:
        Nats, (B,): ln 2 where the domain is undecided.
    """
    return entropy(torch.stack([torch.zeros_like(logits_B), logits_B], dim=-1))


def attentive_entropy(logits_BC: Tensor, domain_entropy_B: Tensor) -> Tensor:
    """Mean of (1 + H(d)) * H(y): be sure of clips whose domain is undecided.

    Args:
        logits_BC: y, of one head.
        domain_entropy_B: H(d).

    Returns:
        A scalar.
    """
    return ((1.0 + domain_entropy_B) * entropy(logits_BC)).mean()


class TA3N(AdaptationMethod):
    """Attentive alignment of frames, relations and videos.

    Args:
        feature_dims: H of each modality.
        frame_dims: S of each modality.
        settings: the recipe's section.
    """

    settings: TA3NAdaptation

    def __init__(
        self, feature_dims: Mapping[str, int], frame_dims: Mapping[str, int], settings: TA3NAdaptation
    ) -> None:
        super().__init__(feature_dims, settings)
        self.videos = nn.ModuleDict({m: DomainDiscriminator(dim, dim, RELU) for m, dim in feature_dims.items()})
        self.frames = nn.ModuleDict({m: DomainDiscriminator(dim, dim, RELU) for m, dim in frame_dims.items()})

    @classmethod
    def for_model(cls, model: nn.Module, settings: AdaptationSection) -> "TA3N":
        """The method for a model of temporal relations.

        Args:
            model: the model.
            settings: of this method.

        Returns:
            The method, with random weights.

        Raises:
            AdaptationError: the model is another one.
        """
        if not isinstance(model, TemporalRelations) or not isinstance(settings, TA3NAdaptation):
            raise AdaptationError(NEEDED)
        return cls(model.feature_dims, model.frame_dims, settings)

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Domain losses of three levels, and the attentive entropy."""
        source, target, model, settings = batch.source, batch.target, batch.model, self.settings
        if not isinstance(model, TemporalRelations) or source.levels is None or target.levels is None:
            raise AdaptationError(NEEDED)
        risen = reversal_strength(batch.progress, 1.0) if settings.warmup else 1.0
        losses: list[Tensor] = []
        entropies: list[Tensor] = []
        logs: dict[str, float | Tensor] = {"reversal": risen}
        for modality in self.feature_dims:
            levels = (source.levels[modality], target.levels[modality])
            video_logits = tuple(
                self.videos[modality](reverse_gradient(output.features[modality], risen * settings.video_reversal))
                for output in (source, target)
            )
            frame_logits = tuple(
                self.frames[modality](reverse_gradient(level.frames_BTS.flatten(0, 1), risen * settings.frame_reversal))
                for level in levels
            )
            parts = {
                "video": binary_domain_loss(*video_logits),
                "frame": binary_domain_loss(*frame_logits),
                "relation": self._relation_loss(model, modality, *levels, risen * settings.relation_reversal),
            }
            losses += parts.values()
            logs |= {f"{modality}/loss_{name}": loss.detach() for name, loss in parts.items()}
            p_s, p_t = (torch.sigmoid(logits.detach()) for logits in video_logits)
            logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p_s, p_t)
            entropies.append(binary_entropy(torch.cat(video_logits)))
        unsure_B = torch.stack(entropies).mean(dim=0)
        verb = attentive_entropy(torch.cat([source.verb_logits_BV, target.verb_logits_BV]), unsure_B)
        noun = attentive_entropy(torch.cat([source.noun_logits_BN, target.noun_logits_BN]), unsure_B)
        attentive = 0.5 * (verb + noun)
        logs["attentive_entropy"] = attentive.detach()
        return AdaptationLosses(torch.stack(losses).sum() + settings.entropy_weight * attentive, None, logs, {})

    @staticmethod
    def _relation_loss(model: TemporalRelations, modality: str, source: Levels, target: Levels, lam: float) -> Tensor:
        logits = [
            model.stream(modality).domains(reverse_gradient(level.relations_BRH, lam)).flatten(0, 1)
            for level in (source, target)
        ]
        labels = [torch.full((len(part),), domain, device=part.device) for domain, part in enumerate(logits)]
        return F.cross_entropy(torch.cat(logits), torch.cat(labels))


def binary_domain_loss(source_B: Tensor, target_B: Tensor) -> Tensor:
    """Mean cross-entropy of domain logits, source 0 and target 1.

    Args:
        source_B: logits.
        target_B: logits.

    Returns:
        A scalar.
    """
    labels_B = torch.cat([torch.zeros_like(source_B), torch.ones_like(target_B)])
    return F.binary_cross_entropy_with_logits(torch.cat([source_B, target_B]), labels_B)
