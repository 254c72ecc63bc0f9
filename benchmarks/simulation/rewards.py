"""Other rewards for MMIR's agents that the study tried and the package does not offer. NOT the MMIR paper's.

One switch each:

- `judge`: the discriminator that relevance Delta is read from. `current` is the one in training [P]; `averaged` a
  running average of its weights, which does not follow each step's noise; `unreversed` a second discriminator that
  learns on detached features, so that nothing it learns is taken back by the reversal.
- `relevance`: `discriminator` [P]; `entropy`: 1 minus the entropy of the prediction over its largest value.
- `quantile`, `continuous`: as of epsicub.adaptation.task.threshold_reward.
- `flush`: forget all picks when the target network is copied; an older model paid for them.

Shapes: B instances (Bs of the source, Bt of the target), D features.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from epicsub.adaptation import MMIR, AdaptationBatch, AdaptationLosses
from epicsub.adaptation.discriminator import Discriminators, relevance
from epicsub.adaptation.task import certainty, threshold_reward
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import MMIRAdaptation

AVERAGE = 0.99  # what the running average of the discriminator's weights keeps in a step


class OtherRewards(MMIR):
    """MMIR with these switches; as they stand here, the paper's reward."""

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        settings: MMIRAdaptation,
        judge: Literal["current", "averaged", "unreversed"] = "current",
        entropy: bool = False,
        quantile: float | None = None,
        continuous: bool = False,
        flush: bool = False,
        **own: Any,
    ) -> None:
        super().__init__(feature_dims, settings, **own)
        self.judge, self.entropy, self.flush = judge, entropy, flush
        self.quantile, self.continuous = quantile, continuous
        self.judges = self.discriminators
        if judge == "averaged":
            self.judges = copy.deepcopy(self.discriminators).requires_grad_(False)
        elif judge == "unreversed":
            self.judges = Discriminators(feature_dims, settings.discriminator_hidden)

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Of the judges too, where they learn."""
        judges = self.judges.parameters() if self.judge == "unreversed" else ()
        return [*super().alignment_parameters(), *judges]

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """With the loss of the judges that learn, which reaches nothing but them."""
        losses = super().losses(batch)
        if self.judge != "unreversed":
            return losses
        source, target = (
            {m: f_BD.detach() for m, f_BD in output.features.items()} for output in (batch.source, batch.target)
        )
        return losses._replace(alignment=losses.alignment + self.judges.alignment(source, target, 0.0))

    @torch.no_grad()
    def deltas(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
        """Relevance Delta (B,) of every instance, by agent's name."""
        return {
            f"{m}_{domain}": certainty(output) if self.entropy else relevance(p_B, domain)
            for domain, output in (("source", source), ("target", target))
            for m, p_B in self.judges.probabilities(output.features).items()
        }

    def instance_rewards(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
        """By the switches."""
        return {
            name: threshold_reward(delta_B, self.tau[name.rpartition("_")[2]], self.quantile, self.continuous)
            for name, delta_B in self.deltas(source, target).items()
        }

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Forget picks, and move the averaged judges."""
        super().after_step(step)
        if self.flush and (step + 1) % self.settings.sync_every == 0:
            for agent in self.agents.values():
                agent.replay.forget()
        if self.judge == "averaged":
            for mean, new in zip(self.judges.parameters(), self.discriminators.parameters(), strict=True):
                mean.lerp_(new, 1.0 - AVERAGE)
