"""A deep Q-learning agent that removes instances from candidate sets, one at a time.

MMIR, arXiv 2311.14281, section 3.2; Mnih et al., "Human-level control through deep reinforcement learning", Nature
518, 2015.

Every function works on all candidate sets at once. Shapes: K candidate sets, N candidates in each, D features of one;
R transitions of a replayed batch. A state is (N, D), with a row of zeros for each candidate that was removed.
"""

import copy
import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the LeakyReLU [C]
NEVER = -math.inf  # Q of an action that is not available


def candidate_sets(count: int, candidates: int, generator: torch.Generator) -> Tensor:
    """Deal the positions of a batch into sets at random; the count % N left over are in none.

    Args:
        count: instances of the batch.
        candidates: N.
        generator: of the order.

    Returns:
        (K, N) int64.
    """
    order = torch.randperm(count, generator=generator)
    return order[: count // candidates * candidates].view(-1, candidates)


class QNetwork(nn.Module):
    """State -> Q of removing each candidate: N*D -> hidden -> N. The paper is silent; sizes are [C]'s.

    Args:
        candidates: N.
        dim: D.
        hidden: units of the hidden layers; (1024, 512) [C].
    """

    def __init__(self, candidates: int, dim: int, hidden: tuple[int, ...] = (1024, 512)) -> None:
        super().__init__()
        sizes = (candidates * dim, *hidden)
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], candidates))

    def forward(self, state_KND: Tensor) -> Tensor:
        """Rate every candidate.

        Args:
            state_KND: states; rows of removed candidates are zero.

        Returns:
            (K, N) Q-values.
        """
        q_KN: Tensor = self.layers(state_KND.flatten(1))
        return q_KN


class Transitions(NamedTuple):
    """Transitions, one row per pick (K picks, or R replayed)."""

    state: Tensor
    """(K, N, D)"""
    action: Tensor
    """(K,) int64: the candidate that was removed."""
    reward: Tensor
    """(K,) float: +1 or -1, or between with continuous rewards."""
    next_state: Tensor
    """(K, N, D): `state` with row `action` zero."""
    done: Tensor
    """(K,) bool: the episode ended."""
    available_next: Tensor
    """(K, N) bool: candidates that can still be removed."""


class ReplayPool(nn.Module):
    """The last `size` transitions. Buffers, so that a checkpoint holds them.

    Args:
        size: transitions kept.
        candidates: N.
        dim: D.
    """

    reward: Tensor
    pushed: Tensor
    """Transitions ever pushed, int64."""

    def __init__(self, size: int, candidates: int, dim: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("state", torch.zeros(size, candidates, dim))
        self.register_buffer("action", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("reward", torch.zeros(size))
        self.register_buffer("next_state", torch.zeros(size, candidates, dim))
        self.register_buffer("done", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("available_next", torch.zeros(size, candidates, dtype=torch.bool))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))
        self._total: int | None = 0

    def __len__(self) -> int:
        return min(self.total, self.size)

    @property
    def total(self) -> int:
        """Transitions ever pushed, counted here too: the device is asked once, after a checkpoint was loaded."""
        if self._total is None:
            self._total = int(self.pushed)
        return self._total

    def forget(self) -> None:
        """Count as if nothing had been pushed."""
        self.pushed.zero_()
        self._total = 0

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._total = None

    @torch.no_grad()
    def push(self, transitions: Transitions) -> None:
        """Copy transitions in, over the oldest ones. Of more than `size`, the last are kept.

        Args:
            transitions: K picks.
        """
        count, kept = len(transitions.action), min(len(transitions.action), self.size)
        places = (torch.arange(count - kept, count, device=self.reward.device) + self.pushed) % self.size
        for name, values in transitions._asdict().items():
            self.get_buffer(name)[places] = values.detach()[count - kept :].to(self.get_buffer(name).dtype)
        self._total = self.total + count
        self.pushed += count

    def sample(self, count: int, generator: torch.Generator) -> Transitions:
        """Draw different transitions uniformly.

        Args:
            count: R, at most as many as are kept.
            generator: of the draw.

        Returns:
            R transitions.
        """
        rows = torch.randperm(len(self), generator=generator)[:count].to(self.reward.device)
        return Transitions(*(self.get_buffer(name)[rows] for name in Transitions._fields))


def greedy(q_KN: Tensor, available_KN: Tensor) -> Tensor:
    """The available action with the largest Q (Eq 2).

    Args:
        q_KN: Q of each candidate.
        available_KN: candidates that can be removed.

    Returns:
        (K,) int64.
    """
    return q_KN.masked_fill(~available_KN, NEVER).argmax(dim=1)


def epsilon_greedy(q_KN: Tensor, available_KN: Tensor, epsilon: float | Tensor, generator: torch.Generator) -> Tensor:
    """Eq 10: with probability `epsilon` any available action, uniformly; else the greedy one.

    The same random numbers are drawn whatever `epsilon` is, so that runs with different ones stay comparable.

    Args:
        q_KN: Q of each candidate.
        available_KN: candidates that can be removed.
        epsilon: probability of a random action.
        generator: of the draws.

    Returns:
        (K,) int64.
    """
    K, N = q_KN.shape
    explore_K = torch.rand(K, generator=generator).to(q_KN.device) < epsilon
    lots_KN = torch.rand(K, N, generator=generator).to(q_KN.device)
    return torch.where(explore_K, greedy(lots_KN, available_KN), greedy(q_KN, available_KN))


def remove(state_KND: Tensor, action_K: Tensor) -> Tensor:
    """Zero the chosen rows in a copy: the replayed state must keep its row.

    Args:
        state_KND: states.
        action_K: candidate to remove.

    Returns:
        (K, N, D).
    """
    next_state_KND = state_KND.clone()
    next_state_KND[torch.arange(len(action_K), device=state_KND.device), action_K] = 0.0
    return next_state_KND


@torch.no_grad()
def td_target(online: nn.Module, target: nn.Module, batch: Transitions, gamma: float, double: bool) -> Tensor:
    """TD target y = r + gamma * Q_target(s', a'), and y = r where the episode ended (Eq 5).

    Args:
        online: the network that learns.
        target: its copy from the last synchronisation.
        batch: transitions.
        gamma: discount.
        double: a' is the online network's best action (van Hasselt et al., AAAI 2016) [C]; else the target network's.

    Returns:
        (R,).
    """
    q_target_RN = target(batch.next_state)
    chooser_RN = online(batch.next_state) if double else q_target_RN
    best_R = greedy(chooser_RN, batch.available_next)
    value_R = q_target_RN.gather(1, best_R[:, None]).squeeze(1)
    return batch.reward + gamma * torch.where(batch.done, torch.zeros_like(value_R), value_R)


class Agent(nn.Module):
    """One agent: a Q-network, its target copy and its replay pool.

    Args:
        candidates: N.
        dim: D.
        replay_size: transitions kept.
        hidden: units of the Q-network's hidden layers.
    """

    def __init__(
        self, candidates: int, dim: int, replay_size: int = 200, hidden: tuple[int, ...] = (1024, 512)
    ) -> None:
        super().__init__()
        self.online = QNetwork(candidates, dim, hidden)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.replay = ReplayPool(replay_size, candidates, dim)

    def loss(
        self, count: int, gamma: float, double: bool, generator: torch.Generator, huber: bool = False
    ) -> Tensor | None:
        """Eq 6 over replayed transitions.

        Args:
            count: R.
            gamma: discount.
            double: double-DQN targets.
            generator: of the replay.
            huber: Huber's loss with delta 1, linear for large errors, in place of their square.

        Returns:
            A scalar; None until the pool holds more than `count`.
        """
        if len(self.replay) <= count:
            return None
        batch = self.replay.sample(count, generator)
        q_R = self.online(batch.state).gather(1, batch.action[:, None]).squeeze(1)
        y_R = td_target(self.online, self.target, batch, gamma, double)
        return F.huber_loss(q_R, y_R) if huber else F.mse_loss(q_R, y_R)

    def sync(self) -> None:
        """Copy the network that learns over its target."""
        self.target.load_state_dict(self.online.state_dict())
