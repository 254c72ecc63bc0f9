"""Multi-modal instance refinement (MMIR, arXiv 2311.14281): agents remove instances before adversarial alignment.

Where the paper is silent, or differs from its released code, this is what is done here and why. [P] the paper, [C] its
released code (yuanqing-ai/MMIR), read, never run or copied, [S] MM-SADA's code, [D] our own choice.

- Exploration: a random pick with probability epsilon, constant 0.5 [P]; "max" of Eqs 2 and 10 is argmax. Option
  `epsilon_schedule: decay`: 0.01 + 0.89 exp(-picks / 24000) of each agent's picks [C].
- Reward: -1 where Delta equals tau [P, Eq 4]. On the target Delta is 1 - sigmoid [P, Eq 3]; [C] compares sigmoid
  itself, the same at tau = 0.5 only. The discriminator is the one before this step's update [C].
- States are copied before a row is zeroed. In [C] `next_state` is the state, so its replay holds states whose chosen
  row is already zero.
- An episode ends after `removals` picks, so with one pick (E = 1 [P]) the TD target is the reward and gamma and the
  target network are idle [D].
- Q-network N*D-1024-512-N with LeakyReLU(0.2) [C]. Double-DQN argmax [C]; `double=False` takes the maximum of Eq 5 [P],
  over the target network.
- Replay of 200, batches of 64 different transitions once it holds more, target network every 6 steps = 48 picks [C].
- Agents learn from detached features, by optimisers of their own [D]: nothing of Eq 7 reaches the backbone. An agent
  whose loss is not finite misses that update, and no other agent does [D]. Options, off [P]: Huber's loss in place of
  Eq 6's square (`agent_loss`), a largest norm of an agent's gradient (`agent_clip_grad`).
- Eq 8 is a mean over the kept instances of both domains and a sum over modalities [C], so that the learning rate does
  not depend on the batch. Discriminator D-128-LeakyReLU(0.2)-1 [P][C], reversal up to 0.2 [C][S].
- Candidate sets are drawn anew each step; instances beyond a multiple of the set's size are kept, untouched [D].
- The agents of a modality choose on their own, so kept sets may differ between modalities [P]. A domain and modality
  without an agent keeps all instances. Agents are not used at test time [P].
- The class loss reads all source instances [P]; option `class_instances: kept`: those that no agent of any modality
  has removed [D].
- Correspondence loss off, Eq 12 lacks it [P]; [C]'s main script turns it on: option `correspondence_weight`, with the
  class loss on all instances as ever [D] (mm_sada.py).
- Ours alone, off unless a recipe names it: `rewards` by the task in place of Eqs 3 and 4 (task.py).

Shapes: B instances (Bs of the source, Bt of the target), K = B // N candidate sets of N instances, D features.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from epicsub.adaptation.discriminator import Discriminators, relevance, reversal_strength
from epicsub.adaptation.dqn import Agent, Transitions, candidate_sets, epsilon_greedy, greedy, remove
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    kept_mask,
    kept_positions,
)
from epicsub.adaptation.mm_sada import optional_correspondence
from epicsub.adaptation.task import TaskRewards, threshold_reward
from epicsub.constants import NUM_VERBS
from epicsub.errors import AdaptationError
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe.adaptation import MMIRAdaptation

DECAY_FLOOR, DECAY_SPAN, DECAY_PICKS = 0.01, 0.89, 24000.0  # [C]
DOMAINS = ("source", "target")


class MMIR(AdaptationMethod):
    """Adversarial alignment of the instances that the agents keep, one agent per modality and domain.

    Args:
        feature_dims: D of each modality.
        settings: the recipe's section.
        classes: V, verb classes; for rewards by the task.
        q_hidden: units of the Q-networks' hidden layers.
    """

    settings: MMIRAdaptation

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        settings: MMIRAdaptation,
        classes: int = NUM_VERBS,
        q_hidden: tuple[int, ...] = (1024, 512),
    ) -> None:
        super().__init__(feature_dims, settings)
        self.tau = {"source": settings.tau_source, "target": settings.tau_target}
        # Before the agents: with one seed they start as those of `Adversarial` do. And every agent is built, chosen or
        # not, so that an agent starts the same whichever others are on.
        self.discriminators = Discriminators(feature_dims, settings.discriminator_hidden)
        self.agent_names = [f"{modality}_{domain}" for modality in feature_dims for domain in DOMAINS]
        agents = {
            name: Agent(settings.candidates, feature_dims[name.rpartition("_")[0]], settings.replay_size, q_hidden)
            for name in self.agent_names
        }
        chosen = agents if settings.agents is None else settings.agents
        self.agents = nn.ModuleDict({name: agent for name, agent in agents.items() if name in chosen})
        self.correspondence = optional_correspondence(feature_dims, settings.correspondence_weight)
        self.rewards = None if settings.rewards is None else TaskRewards(settings.rewards, feature_dims, classes)

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters that the model's optimiser steps with the backbone.

        Returns:
            Of the discriminators, and of the correspondence classifier if there is one.
        """
        parts = [part for part in (self.discriminators, self.correspondence) if part is not None]
        return [parameter for part in parts for parameter in part.parameters()]

    def parameters_by_agent(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that have optimisers of their own, one for each agent.

        Returns:
            Of the Q-networks that learn, without their target copies.
        """
        return {name: list(_agent(agent).online.parameters()) for name, agent in self.agents.items()}

    def _losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Let the agents refine a batch and learn from it, and align what they keep (Eqs 7 and 8)."""
        source, target = batch.source.features, batch.target.features
        self._check_batch(source, target)
        lam = reversal_strength(batch.progress, self.settings.lam_max)
        logs: dict[str, float | Tensor] = {"reversal": lam, **self.discriminators.accuracies(source, target)}
        draws = self._generators(batch.generator)
        if self.rewards is not None:
            self.rewards.statistics.learn(batch.source, batch.verb_B)
        rewards = self.instance_rewards(batch.source, batch.target)
        kept: dict[str, dict[str, Tensor]] = {domain: {} for domain in DOMAINS}
        removed: dict[str, Tensor] = {}
        agents: dict[str, Tensor] = {}
        for name in self.agent_names:
            modality, _, domain = name.rpartition("_")
            f_BD = at_least_float32((source if domain == "source" else target)[modality])
            kept[domain][modality] = f_BD
            if name not in self.agents:
                continue
            agent = _agent(self.agents[name])
            removed[name], figures = self._refine(agent, f_BD, rewards[name], draws[name])
            logs.update({f"{name}/{figure}": value for figure, value in figures.items()})
            kept[domain][modality] = f_BD[kept_positions(removed[name], len(f_BD))]
            loss = agent.loss(
                self.settings.replay_batch,
                self.settings.gamma,
                self.settings.double,
                draws[name],
                self.settings.agent_loss == "huber",
            )
            if loss is not None:
                agents[name] = loss
        alignment = self.discriminators.alignment(kept["source"], kept["target"], lam)
        if self.correspondence is not None:
            correspondence, logs["correspondence_accuracy"] = self.correspondence(source, target)
            alignment = alignment + self.settings.correspondence_weight * correspondence
        classified_B = self._kept_by_all(removed, batch.verb_B) if self.settings.class_instances == "kept" else None
        return AdaptationLosses(alignment, agents or None, logs, removed, classified_B)

    @torch.no_grad()
    def instance_rewards(self, source: TwoHeadOutput, target: TwoHeadOutput) -> dict[str, Tensor]:
        """What the removal of each instance would earn (Eqs 3 and 4), by the discriminators before this step's update.

        Args:
            source: of one batch.
            target: of one batch.

        Returns:
            (B,) by agent's name.
        """
        if self.rewards is not None:
            deltas = self.rewards.deltas(source, target)
            return {name: self.rewards.rewards(deltas[name], self.tau[name.rpartition("_")[2]]) for name in deltas}
        return {
            f"{modality}_{domain}": threshold_reward(relevance(p_B, domain), self.tau[domain])
            for domain, output in (("source", source), ("target", target))
            for modality, p_B in self.discriminators.probabilities(output.features).items()
        }

    @staticmethod
    def _kept_by_all(removed: Mapping[str, Tensor], verb_B: Tensor) -> Tensor:
        """Mask (Bs,) of the source instances that no agent of a modality has removed."""
        positions = [positions for name, positions in removed.items() if name.endswith("_source")]
        return kept_mask(torch.cat(positions) if positions else verb_B[:0], len(verb_B))

    @torch.no_grad()
    def _refine(
        self, agent: Agent, features_BD: Tensor, reward_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Play one episode in every candidate set at once; return the positions removed, sorted, and figures."""
        sets_KN = candidate_sets(len(features_BD), self.settings.candidates, generator).to(features_BD.device)
        state_KND = features_BD.detach()[sets_KN]
        available_KN = torch.ones_like(sets_KN, dtype=torch.bool)
        epsilon = self._exploration(agent)
        picked, rewards, values = [], [], []
        for e in range(1, self.settings.removals + 1):
            q_KN = agent.online(state_KND)
            action_K = epsilon_greedy(q_KN, available_KN, epsilon, generator)
            position_K = sets_KN.gather(1, action_K[:, None]).squeeze(1)
            reward_K = reward_B[position_K]
            values.append(q_KN.gather(1, greedy(q_KN, available_KN)[:, None]).mean())
            next_state_KND = remove(state_KND, action_K)
            available_KN = available_KN.scatter(1, action_K[:, None], False)
            done_K = torch.full_like(action_K, e == self.settings.removals, dtype=torch.bool)
            agent.replay.push(Transitions(state_KND, action_K, reward_K, next_state_KND, done_K, available_KN))
            state_KND = next_state_KND
            picked.append(position_K)
            rewards.append(reward_K)
        all_rewards = torch.cat(rewards)
        figures: dict[str, float | Tensor] = {
            "reward": all_rewards.mean(),
            "reward_positive": 100.0 * (all_rewards > 0).float().mean(),
            "greedy_q": torch.stack(values).mean(),
            "epsilon": epsilon,
        }
        return torch.cat(picked).sort().values, figures

    def _generators(self, generator: torch.Generator) -> dict[str, torch.Generator]:
        """One generator per agent, so that its draws do not depend on which others are on."""
        seeds = torch.randint(2**62, (len(self.agent_names),), generator=generator).tolist()
        return {name: torch.Generator().manual_seed(seed) for name, seed in zip(self.agent_names, seeds, strict=True)}

    def _exploration(self, agent: Agent) -> float | Tensor:
        """Probability of a random pick in this agent's next episodes."""
        if self.settings.epsilon_schedule == "constant":
            return self.settings.epsilon
        return DECAY_FLOOR + DECAY_SPAN * torch.exp(-agent.replay.pushed.double() / DECAY_PICKS)

    def after_step(self, step: int) -> None:
        """Copy to the target networks after every `sync_every` steps.

        Args:
            step: the one that has just ended, from 0.
        """
        if (step + 1) % self.settings.sync_every == 0:
            for agent in self.agents.values():
                _agent(agent).sync()

    def _check_batch(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        candidates = self.settings.candidates
        sizes = {
            f"{modality}_{domain}": len(f_BD)
            for domain, features in (("source", source), ("target", target))
            for modality, f_BD in features.items()
        }
        small = [f"{name}: {size}" for name, size in sizes.items() if name in self.agents and size < candidates]
        if small:
            raise AdaptationError(f"a batch must fill a candidate set of {candidates}; got {', '.join(small)}")


def _agent(module: nn.Module) -> Agent:
    assert isinstance(module, Agent)
    return module
