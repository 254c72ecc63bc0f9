"""Can the agent learn at all? The real DQN on candidate sets that do not change: one planted instance in each.

Shapes: K candidate sets of N, D features.
"""

import torch
from torch import Tensor

from epicsub.adaptation.dqn import Agent, Transitions, epsilon_greedy, remove

SETS, CANDIDATES, DIM = 8, 5, 32  # a step's, as in a batch of 40
OFFSET = 6.0  # distance of planted instances from the others, whose standard deviation is 1
EPSILON, GAMMA, REPLAY, REPLAYED, SYNC_EVERY = 0.5, 0.9, 200, 64, 6
LEARNING_RATE, MOMENTUM = 0.01, 0.9


def greedy_precision(seed: int, steps: int = 1500, shown: int = 2000) -> float:
    """Share of planted instances among the agent's greedy picks in new sets, after learning; chance is 0.2."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    direction_D = torch.nn.functional.normalize(torch.randn(DIM, generator=generator), dim=0)
    agent = Agent(CANDIDATES, DIM, REPLAY, (64,))
    optimizer = torch.optim.SGD(agent.online.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    for step in range(steps):
        state_KND, planted_K = _sets(SETS, direction_D, generator)
        available_KN = torch.ones(SETS, CANDIDATES, dtype=torch.bool)
        with torch.no_grad():
            action_K = epsilon_greedy(agent.online(state_KND), available_KN, EPSILON, generator)
        reward_K = torch.where(action_K == planted_K, 1.0, -1.0)
        left_KN = available_KN.scatter(1, action_K[:, None], False)
        done_K = torch.ones_like(action_K, dtype=torch.bool)
        agent.replay.push(Transitions(state_KND, action_K, reward_K, remove(state_KND, action_K), done_K, left_KN))
        loss = agent.loss(REPLAYED, GAMMA, True, generator)
        if loss is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if (step + 1) % SYNC_EVERY == 0:
            agent.sync()
    state_KND, planted_K = _sets(shown, direction_D, generator)
    with torch.no_grad():
        return float((agent.online(state_KND).argmax(1) == planted_K).float().mean())


def _sets(count: int, direction_D: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """States (K, N, D) and the place of the planted instance in each, (K,)."""
    state_KND = torch.randn(count, CANDIDATES, DIM, generator=generator)
    planted_K = torch.randint(CANDIDATES, (count,), generator=generator)
    state_KND[torch.arange(count), planted_K] += OFFSET * direction_D
    return state_KND, planted_K
