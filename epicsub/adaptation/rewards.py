"""Other rewards for MMIR's agents, each off by default. Ours, NOT the MMIR paper's (arXiv 2311.14281).

The paper pays an agent +1 for an instance whose relevance Delta is below 0.5, and Delta comes from the discriminator
that gradient reversal keeps near chance: in benchmarks/simulation such a reward hardly marks planted outliers. What may
help, one switch each:

- `judge`: whose verdict Delta is. `current` is the discriminator in training [P]; `averaged` a running average of its
  weights, which does not follow each step's noise; `unreversed` a second discriminator that learns on detached
  features, so that nothing it learns is taken back by the reversal.
- `relevance`: what Delta is of. `discriminator` [P]; `entropy`: 1 minus the entropy of the prediction, verbs plus
  nouns, over its largest value; `task`: on the source the same, on the target 1 minus the scaled rank of the distance
  to the nearest source class (mmir_plus.py), 0 for the farthest of the batch.
- `quantile`: the threshold tau of Eq 4 is this quantile of the batch's Delta, in place of a fixed value; so a set share
  of removals is paid, wherever the discriminator stands.
- `continuous`: (tau - Delta) in standard deviations of the batch's Delta, cut at -1 and 1, in place of the sign.

Shapes: B instances (Bs of the source, Bt of the target), D features.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from epicsub.adaptation.discriminator import discriminators, domain_loss, target_probabilities
from epicsub.adaptation.interface import at_least_float32
from epicsub.adaptation.relevance import relevance, reward_of
from epicsub.adaptation.task import ClassStatistics, entropy, ranks
from epicsub.models.heads import TwoHeadOutput, count_unmasked

AVERAGE = 0.99  # what the running average of the discriminator's weights keeps in a step
LEAST_SPREAD = 1e-12  # where all of a batch are the same


@dataclass(frozen=True)
class RewardSettings:
    """The switches; as they stand here, the paper's reward."""

    judge: Literal["current", "averaged", "unreversed"] = "current"
    relevance: Literal["discriminator", "entropy", "task"] = "discriminator"
    quantile: float | None = None
    """Of the batch's Delta, in place of the fixed thresholds."""
    continuous: bool = False


class Rewards(nn.Module):
    """What each instance of a batch would earn an agent.

    Args:
        settings: the switches.
        feature_dims: D of each modality.
        trained: the discriminators in training.
        hidden: hidden units of a judge of its own.
        classes: V, verb classes.
    """

    def __init__(
        self,
        settings: RewardSettings,
        feature_dims: Mapping[str, int],
        trained: nn.ModuleDict,
        hidden: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.judges: nn.ModuleDict | None = None
        if settings.relevance == "discriminator" and settings.judge == "averaged":
            self.judges = copy.deepcopy(trained).requires_grad_(False)
        elif settings.relevance == "discriminator" and settings.judge == "unreversed":
            self.judges = discriminators(feature_dims, hidden)
        with_task = feature_dims.items() if settings.relevance == "task" else ()
        self.statistics = nn.ModuleDict({modality: ClassStatistics(classes, dim) for modality, dim in with_task})

    def loss(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor | None:
        """What the unreversed judges learn by; reaches nothing but them. None for others.

        Args:
            source: modality -> (Bs, D).
            target: modality -> (Bt, D).
        """
        if self.judges is None or self.settings.judge != "unreversed":
            return None
        losses = [
            domain_loss(judge, at_least_float32(source[m]).detach(), at_least_float32(target[m]).detach(), 0.0)
            for m, judge in self.judges.items()
        ]
        return torch.stack(losses).sum()

    def learn(self, source: TwoHeadOutput, verb_B: Tensor) -> None:
        """Add a source batch to what is known of the classes, where that is asked for.

        Args:
            source: of the labelled clips.
            verb_B: their labels.
        """
        for modality, module in self.statistics.items():
            assert isinstance(module, ClassStatistics)
            module.update(source.features[modality], verb_B)

    @torch.no_grad()
    def deltas(self, source: TwoHeadOutput, target: TwoHeadOutput, trained: nn.ModuleDict) -> dict[str, Tensor]:
        """Delta (B,) of every instance, by agent's name.

        Args:
            source: of one batch.
            target: of one batch.
            trained: the discriminators in training, before this step's update.
        """
        return {
            f"{modality}_{domain}": self._delta(modality, domain, output, trained)
            for modality in source.features
            for domain, output in (("source", source), ("target", target))
        }

    def _delta(self, modality: str, domain: str, output: TwoHeadOutput, trained: nn.ModuleDict) -> Tensor:
        f_BD = at_least_float32(output.features[modality])
        if self.settings.relevance == "discriminator":
            judge = (trained if self.judges is None else self.judges)[modality]
            return relevance(target_probabilities(judge, f_BD), domain)
        if self.settings.relevance == "entropy" or domain == "source":
            return certainty(output)
        statistics = self.statistics[modality]
        assert isinstance(statistics, ClassStatistics)
        return 1.0 - ranks(statistics.distance(f_BD)).to(f_BD.dtype) / max(len(f_BD) - 1, 1)

    @torch.no_grad()
    def of_delta(self, delta_B: Tensor, tau: float) -> Tensor:
        """Reward (B,) for each instance's removal.

        Args:
            delta_B: relevance of the batch in one modality and domain.
            tau: the fixed threshold.
        """
        q = self.settings.quantile
        threshold = delta_B.new_tensor(tau) if q is None else delta_B.quantile(q)
        if not self.settings.continuous:
            return reward_of(delta_B, threshold)
        return ((threshold - delta_B) / delta_B.std().clamp(min=LEAST_SPREAD)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def follow(self, trained: nn.ModuleDict) -> None:
        """Move the averaged judges after an update of the discriminators."""
        if self.judges is not None and self.settings.judge == "averaged":
            for mean, new in zip(self.judges.parameters(), trained.parameters(), strict=True):
                mean.lerp_(new, 1.0 - AVERAGE)


def certainty(output: TwoHeadOutput) -> Tensor:
    """1 minus the entropy of verbs plus nouns over its largest value: 0 for no idea, 1 for one class of each. (B,)

    Of the classes that the heads tell apart: with eight verbs and no nouns ln 8 is the largest value.
    """
    heads = [at_least_float32(logits) for logits in (output.verb_logits_BV, output.noun_logits_BN)]
    counts = [count_unmasked(logits) for logits in heads]
    found_B = sum(entropy(logits) * (count > 1) for logits, count in zip(heads, counts, strict=True))
    return 1.0 - found_B / torch.stack(counts).log().sum().clamp(min=LEAST_SPREAD)
