"""The agent's parts: states and their copies, replay, exploration, TD targets, target network."""

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

from epicsub.adaptation.dqn import (
    Agent,
    QNetwork,
    ReplayPool,
    Transitions,
    epsilon_greedy,
    greedy,
    remove,
    td_target,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transitions(K: int, N: int = 3, D: int = 2, first: int = 0) -> Transitions:
    state = torch.arange(first, first + K).float()[:, None, None].expand(K, N, D) + 1.0
    action = torch.arange(K) % N
    return Transitions(
        state=state,
        action=action,
        reward=torch.arange(first, first + K).float(),
        next_state=remove(state, action),
        done=torch.arange(K) % 2 == 0,
        available_next=torch.ones(K, N, dtype=torch.bool).scatter(1, action[:, None], False),
    )


# --- network ----------------------------------------------------------------------------------------------------------


def test_network_size_and_values() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in QNetwork(5, 1024).parameters()) == 5_771_269
    torch.manual_seed(0)
    net = QNetwork(3, 2, hidden=(4,))
    state = torch.randn(5, 3, 2)
    first, _, last = net.layers
    z = state.reshape(5, 6) @ first.weight.T + first.bias
    z = torch.where(z > 0, z, 0.2 * z)
    torch.testing.assert_close(net(state), z @ last.weight.T + last.bias)


# --- states -----------------------------------------------------------------------------------------------------------


def test_next_state_differs_in_the_chosen_row_alone() -> None:
    state = torch.randn(4, 5, 3)
    before, action = state.clone(), torch.tensor([0, 4, 2, 2])
    after = remove(state, action)
    assert torch.equal(state, before)  # a copy: the state that is replayed keeps its row
    for k in range(4):
        for n in range(5):
            assert torch.equal(after[k, n], torch.zeros(3) if n == action[k] else before[k, n])


# --- replay -----------------------------------------------------------------------------------------------------------


def slow_ring(pushes: list[int], size: int) -> list[int]:
    """The last `size` of what was pushed, a list at a time."""
    kept: list[int] = []
    for count in pushes:
        start = kept[-1] + 1 if kept else 0
        kept += range(start, start + count)
    return kept[-size:]


@pytest.mark.parametrize("pushes", [[3], [4, 4], [8, 8, 8], [10], [25], [3, 25, 4]])
def test_the_pool_keeps_the_last(pushes: list[int]) -> None:
    pool, done = ReplayPool(10, 3, 2), 0
    for count in pushes:
        pool.push(transitions(count, first=done))
        done += count
    expected = slow_ring(pushes, 10)
    assert len(pool) == len(expected)
    assert int(pool.pushed) == done
    everything = pool.sample(len(pool), generator())
    order = everything.reward.argsort()
    assert everything.reward[order].tolist() == [float(value) for value in expected]
    assert everything.state[order][:, 0, 0].tolist() == [value + 1.0 for value in expected]
    rows = torch.arange(len(expected))
    assert not everything.next_state[rows, everything.action].any()
    assert not everything.available_next[rows, everything.action].any()
    assert everything.available_next.sum(dim=1).tolist() == [2] * len(expected)


def test_samples_are_different_transitions_drawn_evenly() -> None:
    pool = ReplayPool(20, 3, 2)
    pool.push(transitions(20))
    counts, draws = torch.zeros(20), generator()
    for _ in range(500):
        drawn = pool.sample(8, draws).reward.long()
        assert len(drawn.unique()) == 8
        counts[drawn] += 1
    assert chisquare(counts.numpy()).pvalue > 0.001


def test_the_pool_is_a_copy_without_a_graph() -> None:
    features = torch.randn(2, 3, 2, requires_grad=True)
    one, pool = transitions(2), ReplayPool(4, 3, 2)
    pool.push(one._replace(state=features * 1.0))
    before = pool.get_buffer("state").clone()
    with torch.no_grad():
        features.fill_(9.0)
        one.next_state.fill_(9.0)
    assert torch.equal(pool.get_buffer("state"), before)
    assert not pool.get_buffer("state").requires_grad
    assert not (pool.get_buffer("next_state") == 9.0).any()


# --- exploration ------------------------------------------------------------------------------------------------------


def test_epsilon_zero_is_greedy_over_what_is_available() -> None:
    q = torch.tensor([[1.0, 5.0, 3.0], [9.0, 2.0, 4.0]]).repeat(200, 1)
    available = torch.tensor([[True, True, True], [False, True, True]]).repeat(200, 1)
    assert greedy(q, available)[:2].tolist() == [1, 2]
    assert torch.equal(epsilon_greedy(q, available, 0.0, generator()), greedy(q, available))


def test_epsilon_one_is_even_over_what_is_available() -> None:
    q = torch.tensor([[0.0, 9.0, 1.0, 2.0, 8.0]]).repeat(4000, 1)
    available = torch.tensor([[True, True, False, True, True]]).repeat(4000, 1)
    picks = epsilon_greedy(q, available, 1.0, generator()).bincount(minlength=5)
    assert picks[2] == 0
    assert chisquare(picks[[0, 1, 3, 4]].numpy()).pvalue > 0.001


def test_epsilon_is_the_probability_of_a_random_pick() -> None:
    q = torch.tensor([[0.0, 9.0, 1.0, 2.0, 8.0]]).repeat(10_000, 1)
    picks = epsilon_greedy(q, torch.ones(10_000, 5, dtype=torch.bool), 0.3, generator())
    assert (picks == 1).float().mean().item() == pytest.approx(0.7 + 0.3 / 5, abs=0.015)  # sd 0.0043


def test_negative_values_do_not_let_a_removed_action_win() -> None:
    q = torch.full((1000, 5), -7.0)
    available = torch.ones(1000, 5, dtype=torch.bool)
    available[:, 3] = False
    for epsilon in (0.0, 0.5, 1.0):
        assert not (epsilon_greedy(q, available, epsilon, generator()) == 3).any()


# --- TD targets -------------------------------------------------------------------------------------------------------


class Table(nn.Module):
    """Q looked up by the first number of the state."""

    def __init__(self, rows: list[list[float]]) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.tensor(rows))

    def forward(self, state_KND: Tensor) -> Tensor:
        return self.rows[state_KND[:, 0, 0].long()]


ONLINE = Table([[1.0, 9.0, 3.0], [4.0, 2.0, 8.0]])
TARGET = Table([[10.0, 20.0, 30.0], [70.0, 50.0, 60.0]])


def two_steps(done: bool) -> Transitions:
    """Next states 0 and 1; action 1 is gone from the first, action 2 from the second."""
    next_state = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 3, 1)
    available = torch.tensor([[True, False, True], [True, True, False]])
    return Transitions(
        next_state, torch.tensor([1, 2]), torch.tensor([1.0, -1.0]), next_state, torch.tensor([done, done]), available
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("double", [True, False])
def test_the_target_is_the_reward_where_the_episode_ends(gamma: float, double: bool) -> None:
    assert td_target(ONLINE, TARGET, two_steps(done=True), gamma, double).tolist() == [1.0, -1.0]


def test_the_double_target_asks_the_online_network_which_and_the_target_network_how_much() -> None:
    # Available of the first: online 1 and 3 -> action 2, worth 30. Of the second: online 4 and 2 -> action 0, worth 70.
    y = td_target(ONLINE, TARGET, two_steps(done=False), 0.9, double=True)
    torch.testing.assert_close(y, torch.tensor([1 + 0.9 * 30, -1 + 0.9 * 70]))
    # Where the two disagree: online prefers action 0 (2 over 1), the target network would give action 1 more.
    online, target = Table([[2.0, 1.0, 9.0]]), Table([[5.0, 6.0, 99.0]])
    batch = Transitions(*(field[:1] for field in two_steps(done=False)))
    batch = batch._replace(available_next=torch.tensor([[True, True, False]]))
    torch.testing.assert_close(td_target(online, target, batch, 0.5, double=True), torch.tensor([1 + 0.5 * 5]))
    torch.testing.assert_close(td_target(online, target, batch, 0.5, double=False), torch.tensor([1 + 0.5 * 6]))


def test_the_target_carries_no_graph() -> None:
    assert not td_target(ONLINE, TARGET, two_steps(done=False), 0.9, double=True).requires_grad


# --- agent ------------------------------------------------------------------------------------------------------------


def small_agent(count: int) -> Agent:
    torch.manual_seed(0)
    agent = Agent(3, 2, replay_size=20, hidden=(4,))
    agent.replay.push(transitions(count))
    return agent


def test_loss_is_the_mean_squared_td_error() -> None:
    agent = small_agent(9).double()
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter.mul_(-2.0)  # away from the online network
    loss = agent.loss(8, 0.9, True, generator(4))
    batch, expected = agent.replay.sample(8, generator(4)), 0.0
    for i in range(8):
        q = agent.online(batch.state[i : i + 1])[0, batch.action[i]]
        y = batch.reward[i]
        if not batch.done[i]:
            options = [n for n in range(3) if batch.available_next[i, n]]
            q_next = agent.online(batch.next_state[i : i + 1])[0]
            best = max(options, key=lambda n: q_next[n].item())
            y = y + 0.9 * agent.target(batch.next_state[i : i + 1])[0, best]
        expected += (y - q).item() ** 2 / 8
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_gradient_of_the_loss_equals_finite_differences() -> None:
    agent = small_agent(9).double()
    with torch.no_grad():
        for parameter in agent.target.parameters():
            parameter.mul_(-2.0)
    agent.loss(8, 0.9, True, generator(4)).backward()
    for parameter in agent.online.parameters():
        for index in range(0, parameter.numel(), 5):
            flat, values = parameter.data.view(-1), []
            for shift in (1e-6, -2e-6):
                flat[index] += shift
                values.append(agent.loss(8, 0.9, True, generator(4)).item())
            flat[index] += 1e-6
            assert parameter.grad.view(-1)[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)


def test_no_loss_until_the_pool_holds_more_than_a_batch() -> None:
    assert small_agent(8).loss(8, 0.9, True, generator()) is None
    assert small_agent(9).loss(8, 0.9, True, generator()) is not None


def test_the_loss_reaches_the_online_network_alone() -> None:
    agent = small_agent(9)
    agent.loss(8, 0.9, True, generator()).backward()
    assert all(p.grad is not None and p.grad.any() for p in agent.online.parameters())
    assert all(p.grad is None and not p.requires_grad for p in agent.target.parameters())


def test_the_target_network_moves_when_it_is_told_to() -> None:
    agent = small_agent(9)
    start = [p.clone() for p in agent.target.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(start, agent.online.parameters(), strict=True))
    with torch.no_grad():
        for parameter in agent.online.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(start, agent.target.parameters(), strict=True))
    agent.sync()
    assert all(torch.equal(a + 1.0, b) for a, b in zip(start, agent.target.parameters(), strict=True))
