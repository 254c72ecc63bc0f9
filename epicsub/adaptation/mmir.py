"""Multi-modal instance refinement (MMIR, arXiv 2311.14281): agents take instances out before adversarial alignment.

Where the paper is silent, or differs from its released code, this is what is done here and why. [P] the paper, [C] its
released code (yuanqing-ai/MMIR), read, never run or copied, [S] MM-SADA's code, [D] our own choice.

- Exploration: a random pick with probability epsilon, constant 0.5 [P]; "max" of Eqs 2 and 10 is argmax. Option
  `decay`: 0.01 + 0.89 exp(-picks / 24000) of each agent's picks [C].
- Reward: -1 where Delta equals tau [P, Eq 4]. On the target Delta is 1 - sigmoid [P, Eq 3]; [C] compares sigmoid
  itself, the same at tau = 0.5 only. The discriminator is the one before this step's update [C].
- States are copied before a row is zeroed. In [C] `next_state` is the state, so its replay holds states whose chosen
  row is already zero.
- An episode ends after `removals` picks, so with one pick (E = 1 [P]) the TD target is the reward and gamma and the
  target network are idle [D].
- Q-network N*D-1024-512-N with LeakyReLU(0.2) [C]. Double-DQN argmax [C]; `double=False` takes the maximum of Eq 5 [P],
  over the target network.
- Replay of 200, batches of 64 different transitions once it holds more, target network every 6 steps = 48 picks [C].
- Agents learn from detached features, by their own optimiser [D]: nothing of Eq 7 reaches the backbone.
- Eq 8 is a mean over the kept instances of both domains and a sum over modalities [C], so that the learning rate does
  not depend on the batch. Discriminator D-128-LeakyReLU(0.2)-1 [P][C], reversal up to 0.2 [C][S].
- Candidate sets are drawn anew each step; instances beyond a multiple of the set's size are kept, untouched [D].
- The agents of a modality choose on their own, so kept sets may differ between modalities [P]. A domain and modality
  without an agent keeps all instances. Agents are not used at test time [P].
- The class loss reads all source instances [P]; option `kept`: those that no agent of any modality has taken out [D].
- Correspondence loss off, Eq 12 lacks it [P]; [C]'s main script turns it on: option `correspondence_weight`, with the
  class loss on all instances as ever [D] (correspondence.py).
- Options that are ours alone, off unless a recipe names them: `flush_replay`, and `rewards` (rewards.py).

Shapes: B instances (Bs of the source, Bt of the target), K = B // N candidate sets of N instances, D features.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from epicsub.adaptation.correspondence import optional_correspondence
from epicsub.adaptation.discriminator import discriminators, domain_accuracy, domain_loss, target_probabilities
from epicsub.adaptation.dqn import Agent, Transitions, candidate_sets, epsilon_greedy, greedy, take_out
from epicsub.adaptation.interface import (
    AdaptationBatch,
    AdaptationLosses,
    AdaptationMethod,
    at_least_float32,
    check_features,
)
from epicsub.adaptation.relevance import relevance, reward_of
from epicsub.adaptation.reversal import reversal_strength
from epicsub.adaptation.rewards import Rewards, RewardSettings
from epicsub.constants import NUM_VERBS
from epicsub.errors import AdaptationError

DECAY_FLOOR, DECAY_SPAN, DECAY_PICKS = 0.01, 0.89, 24000.0  # [C]


class MMIR(AdaptationMethod):
    """Adversarial alignment on instances that survive the agents, one agent a modality and domain.

    Args:
        feature_dims: D of each modality.
        lam_max: strength of the gradient reversal at the end.
        discriminator_hidden: hidden units of the discriminators.
        candidates: N, instances in a candidate set.
        removals: E, instances taken out of each set.
        epsilon: probability of a random pick, for the constant schedule.
        epsilon_schedule: constant, or decay over the agent's picks.
        tau_source: threshold of the reward on the source.
        tau_target: threshold of the reward on the target.
        gamma: discount.
        double: double-DQN targets.
        replay_size: transitions an agent keeps.
        replay_batch: transitions of one update.
        sync_every: steps between copies to the target networks.
        agents: names like rgb_source, flow_target; None for all of the modalities'.
        class_instances: source instances of the class loss: all, or those that every modality's agents keep.
        correspondence_weight: of MM-SADA's correspondence loss.
        flush_replay: ours: forget all picks when the target network is copied; they were paid by an older model.
        rewards: ours: other rewards than Eqs 3 and 4 (rewards.py).
        classes: V, verb classes; for `rewards`.
        q_hidden: units of the Q-networks' layers between.

    Raises:
        AdaptationError: settings that cannot work together, or an agent of no modality.
    """

    def __init__(
        self,
        feature_dims: Mapping[str, int],
        lam_max: float = 0.2,
        discriminator_hidden: int = 128,
        candidates: int = 5,
        removals: int = 1,
        epsilon: float = 0.5,
        epsilon_schedule: Literal["constant", "decay"] = "constant",
        tau_source: float = 0.5,
        tau_target: float = 0.5,
        gamma: float = 0.9,
        double: bool = True,
        replay_size: int = 200,
        replay_batch: int = 64,
        sync_every: int = 6,
        agents: Sequence[str] | None = None,
        class_instances: Literal["all", "kept"] = "all",
        correspondence_weight: float = 0.0,
        flush_replay: bool = False,
        rewards: RewardSettings | None = None,
        classes: int = NUM_VERBS,
        q_hidden: tuple[int, ...] = (1024, 512),
    ) -> None:
        super().__init__()
        every_agent = [f"{modality}_{domain}" for modality in feature_dims for domain in ("source", "target")]
        chosen = every_agent if agents is None else list(agents)
        _check_settings(chosen, every_agent, candidates, removals, replay_size, replay_batch, epsilon_schedule)
        self.feature_dims, self.lam_max = dict(feature_dims), lam_max
        self.candidates, self.removals = candidates, removals
        self.epsilon, self.epsilon_schedule = epsilon, epsilon_schedule
        self.tau = {"source": tau_source, "target": tau_target}
        self.gamma, self.double_dqn = gamma, double
        self.replay_batch, self.sync_every = replay_batch, sync_every
        # Before the agents: with one seed they start as those of `Adversarial` do. And every agent is made, chosen or
        # not, so that an agent starts the same whichever others are on.
        self.discriminators = discriminators(feature_dims, discriminator_hidden)
        made = {
            name: Agent(candidates, feature_dims[name.rpartition("_")[0]], replay_size, q_hidden)
            for name in every_agent
        }
        self.agents = nn.ModuleDict({name: agent for name, agent in made.items() if name in chosen})
        self.class_instances, self.correspondence_weight = class_instances, correspondence_weight
        self.correspondence = optional_correspondence(feature_dims, correspondence_weight)
        self.flush_replay = flush_replay
        self.rewards: Rewards | None = None
        if rewards is not None:
            self.rewards = Rewards(rewards, feature_dims, self.discriminators, discriminator_hidden, classes)

    def alignment_parameters(self) -> Iterable[nn.Parameter]:
        """Of the discriminators, and of the correspondence classifier and judges that learn, if there are any."""
        parts = [part for part in (self.discriminators, self.correspondence, self.rewards) if part is not None]
        return [parameter for part in parts for parameter in part.parameters() if parameter.requires_grad]

    def agent_parameters(self) -> Iterable[nn.Parameter]:
        """Of the Q-networks that learn, without their target copies: they have an optimiser of their own."""
        return [parameter for agent in self.agents.values() for parameter in _agent(agent).online.parameters()]

    def losses(self, batch: AdaptationBatch) -> AdaptationLosses:
        """Let the agents refine a batch and learn from it, and align what they keep (Eqs 7 and 8).

        Raises:
            AdaptationError: features do not fit the method, or a batch is smaller than a candidate set.
        """
        source, target = batch.source.features, batch.target.features
        check_features(source, target, self.feature_dims)
        self._check_batch(source, target)
        lam = reversal_strength(batch.progress, self.lam_max)
        alignment, agents = [], []
        logs: dict[str, float | Tensor] = {"reversal": lam}
        removed: dict[str, Tensor] = {}
        draws = self._generators(batch.generator)
        ours = self._our_deltas(batch)
        for modality, discriminator in self.discriminators.items():
            features = {"source": at_least_float32(source[modality]), "target": at_least_float32(target[modality])}
            p = {domain: target_probabilities(discriminator, f_BD) for domain, f_BD in features.items()}
            logs[f"{modality}/discriminator_accuracy"] = domain_accuracy(p["source"], p["target"])
            kept = {}
            for domain, f_BD in features.items():
                name = f"{modality}_{domain}"
                if name not in self.agents:
                    kept[domain] = f_BD
                    continue
                agent = _agent(self.agents[name])
                delta_B = ours[name] if ours else relevance(p[domain], domain)
                reward_B = (self.rewards.of_delta if self.rewards else reward_of)(delta_B, self.tau[domain])
                removed[name], figures = self._refine(agent, f_BD, reward_B, draws[name])
                logs.update({f"{name}/{figure}": value for figure, value in figures.items()})
                kept[domain] = f_BD[_complement(removed[name], len(f_BD))]
                loss = agent.loss(self.replay_batch, self.gamma, self.double_dqn, draws[name])
                if loss is not None:
                    agents.append(loss)
            alignment.append(domain_loss(discriminator, kept["source"], kept["target"], lam))
        loss = torch.stack(alignment).sum()
        if self.correspondence is not None:
            correspondence, logs["correspondence_accuracy"] = self.correspondence(source, target)
            loss = loss + self.correspondence_weight * correspondence
        if self.rewards is not None and (judging := self.rewards.loss(source, target)) is not None:
            loss = loss + judging
        classified_B = self._kept_by_all(removed, batch.verb_B) if self.class_instances == "kept" else None
        return AdaptationLosses(loss, torch.stack(agents).sum() if agents else None, logs, removed, classified_B)

    def _our_deltas(self, batch: AdaptationBatch) -> dict[str, Tensor]:
        """By agent's name, where the rewards are ours; nothing where they are the paper's."""
        if self.rewards is None:
            return {}
        self.rewards.learn(batch.source, batch.verb_B)
        return self.rewards.deltas(batch.source, batch.target, self.discriminators)

    @staticmethod
    def _kept_by_all(removed: Mapping[str, Tensor], verb_B: Tensor) -> Tensor:
        """Mask (Bs,) of the source instances that no agent of a modality has taken out."""
        taken = [positions for name, positions in removed.items() if name.endswith("_source")]
        return _complement(torch.cat(taken) if taken else verb_B[:0], len(verb_B))

    @torch.no_grad()
    def _refine(
        self, agent: Agent, features_BD: Tensor, reward_B: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float | Tensor]]:
        """Play one episode in every candidate set at once; return the positions taken out, sorted, and figures."""
        sets_KN = candidate_sets(len(features_BD), self.candidates, generator).to(features_BD.device)
        state_KND = features_BD.detach()[sets_KN]
        available_KN = torch.ones_like(sets_KN, dtype=torch.bool)
        epsilon = self.exploration(agent)
        picked, rewards, values = [], [], []
        for e in range(1, self.removals + 1):
            q_KN = agent.online(state_KND)
            action_K = epsilon_greedy(q_KN, available_KN, epsilon, generator)
            position_K = sets_KN.gather(1, action_K[:, None]).squeeze(1)
            reward_K = reward_B[position_K]
            values.append(q_KN.gather(1, greedy(q_KN, available_KN)[:, None]).mean())
            next_state_KND = take_out(state_KND, action_K)
            available_KN = available_KN.scatter(1, action_K[:, None], False)
            done_K = torch.full_like(action_K, e == self.removals, dtype=torch.bool)
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
        """One generator an agent, so that its draws do not depend on which others are on."""
        names = [f"{modality}_{domain}" for modality in self.feature_dims for domain in ("source", "target")]
        seeds = torch.randint(2**62, (len(names),), generator=generator).tolist()
        return {name: torch.Generator().manual_seed(seed) for name, seed in zip(names, seeds, strict=True)}

    def exploration(self, agent: Agent) -> float:
        """Probability of a random pick in this agent's next episodes."""
        if self.epsilon_schedule == "constant":
            return self.epsilon
        return DECAY_FLOOR + DECAY_SPAN * math.exp(-int(agent.replay.pushed) / DECAY_PICKS)

    def after_step(self, step: int) -> None:
        """Copy to the target networks after every `sync_every` steps; `step` is the one just made, from 0."""
        if (step + 1) % self.sync_every == 0:
            for agent in self.agents.values():
                _agent(agent).sync()
                if self.flush_replay:
                    _agent(agent).replay.clear()
        if self.rewards is not None:
            self.rewards.follow(self.discriminators)

    def _check_batch(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        sizes = {
            f"{modality}_{domain}": len(f_BD)
            for domain, features in (("source", source), ("target", target))
            for modality, f_BD in features.items()
        }
        small = [f"{name}: {size}" for name, size in sizes.items() if name in self.agents and size < self.candidates]
        if small:
            raise AdaptationError(f"a batch must fill a candidate set of {self.candidates}; got {', '.join(small)}")


def _agent(module: nn.Module) -> Agent:
    assert isinstance(module, Agent)
    return module


def _complement(positions: Tensor, count: int) -> Tensor:
    """Mask (B,) of what is not among `positions`."""
    mask_B = torch.ones(count, dtype=torch.bool, device=positions.device)
    mask_B[positions] = False
    return mask_B


def _check_settings(
    chosen: list[str],
    known: list[str],
    candidates: int,
    removals: int,
    replay_size: int,
    replay_batch: int,
    schedule: str,
) -> None:
    problems = [f"agent {name!r}: no such agent; there are {', '.join(known)}" for name in chosen if name not in known]
    if not 1 <= removals < candidates:
        problems.append(f"removals {removals}: must leave at least one of the {candidates} candidates, and take one")
    if replay_batch >= replay_size:
        problems.append(f"replay_batch {replay_batch}: must be smaller than replay_size {replay_size}")
    if schedule not in ("constant", "decay"):
        problems.append(f"epsilon_schedule {schedule!r}: constant or decay")
    if problems:
        raise AdaptationError("\n".join(problems))
