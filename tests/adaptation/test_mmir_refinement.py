"""MMIR: rewards, candidate sets, and what is removed and remembered.

Shapes: B instances, K candidate sets, N candidates in each, D features.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from epicsub.adaptation.discriminator import relevance
from epicsub.adaptation.dqn import candidate_sets
from epicsub.adaptation.task import threshold_reward
from tests.adaptation.batches import batch_of
from tests.adaptation.mmir_pieces import EVERY, features, method, step

# --- rewards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "tau", "sigma", "reward"),
    [
        ("source", 0.5, 0.2, +1),
        ("source", 0.5, 0.5, -1),
        ("source", 0.5, 0.8, -1),
        ("target", 0.5, 0.2, -1),
        ("target", 0.5, 0.5, -1),
        ("target", 0.5, 0.8, +1),
        # On the target it is 1 - sigma that is compared: with sigma itself these would be +1, -1.
        ("target", 0.3, 0.2, -1),
        ("target", 0.3, 0.8, +1),
        ("target", 0.9, 0.2, +1),
        ("source", 0.9, 0.8, +1),
        ("source", 0.1, 0.2, -1),
    ],
)
def test_reward_table(domain: str, tau: float, sigma: float, reward: int) -> None:
    assert threshold_reward(relevance(torch.tensor([sigma]), domain), tau).tolist() == [float(reward)]


class Scripted(nn.Module):
    """sigmoid(D(f)) is the first feature."""

    def forward(self, f_BD: Tensor) -> Tensor:
        return torch.logit(f_BD[:, 0])


@pytest.mark.parametrize(("tau_source", "tau_target"), [(0.5, 0.5), (0.7, 0.2)])
def test_rewards_in_the_replay_are_those_of_what_was_taken_out(tau_source: float, tau_target: float) -> None:
    one = method(dims={"rgb": 3}, tau_source=tau_source, tau_target=tau_target, epsilon=1.0)
    one.discriminators["rgb"] = Scripted()
    source, target = (features(20, seed, {"rgb": 3}) for seed in (1, 2))
    for f in (source, target):
        f["rgb"] = torch.rand(20, 3, generator=torch.Generator().manual_seed(int(f["rgb"][0, 0].abs() * 1e6)))
    losses = one.losses(batch_of(source, target, 0.5, 0, torch.Generator().manual_seed(0)))
    for domain, tau in (("source", tau_source), ("target", tau_target)):
        pool, f = one.agents[f"rgb_{domain}"].replay, (source if domain == "source" else target)["rgb"]
        expected = set()
        for position in losses.removed[f"rgb_{domain}"].tolist():
            sigma = f[position, 0].item()
            delta = sigma if domain == "source" else 1 - sigma
            expected.add((sigma, 1.0 if delta < tau else -1.0))
        rows = torch.arange(4)
        taken = pool.state[rows, pool.action[rows], 0].tolist()
        assert set(zip(taken, pool.reward[:4].tolist(), strict=True)) == expected
        assert losses.logs[f"rgb_{domain}/reward"] == pytest.approx(sum(r for _, r in expected) / 4)
        positive = 100 * sum(r > 0 for _, r in expected) / 4
        assert losses.logs[f"rgb_{domain}/reward_positive"] == pytest.approx(positive)


# --- candidate sets and refinement ------------------------------------------------------------------------------------


@given(count=st.integers(2, 60), candidates=st.integers(2, 7), seed=st.integers(0, 1000))
def test_sets_cover_the_batch_once(count: int, candidates: int, seed: int) -> None:
    sets = candidate_sets(count, candidates, torch.Generator().manual_seed(seed))
    assert sets.shape == (count // candidates, candidates)
    positions = sets.flatten().tolist()
    assert len(set(positions)) == len(positions)
    assert set(positions) <= set(range(count))


def test_sets_are_dealt_evenly() -> None:
    generator, together = torch.Generator().manual_seed(0), 0
    for _ in range(3000):
        sets = candidate_sets(10, 5, generator)
        together += any({0, 1} <= set(row) for row in sets.tolist())
    assert together / 3000 == pytest.approx(4 / 9, abs=0.04)


@pytest.mark.parametrize(("B", "removals", "removed"), [(40, 1, 8), (42, 1, 8), (40, 2, 16), (5, 4, 4)])
def test_what_is_taken_out(B: int, removals: int, removed: int) -> None:
    losses = step(method(removals=removals, replay_size=100), 0, B)
    for name in EVERY:
        positions = losses.removed[name].tolist()
        assert len(set(positions)) == len(positions) == removed
        assert positions == sorted(positions)
        assert set(positions) <= set(range(B))


def test_nothing_is_taken_out_twice_in_an_episode() -> None:
    one = method(removals=4, epsilon=0.5, replay_size=200)
    for number in range(20):
        step(one, number)
    for agent in one.agents.values():
        pool = agent.replay
        for i in range(int(pool.pushed)):
            assert pool.state[i, pool.action[i]].any()  # the row was still there
            zero_rows = ~pool.next_state[i].any(dim=1)
            assert torch.equal(zero_rows, ~pool.available_next[i])
            assert (zero_rows.sum() == 4) == pool.done[i]


def test_replayed_states_differ_from_the_next_in_the_chosen_row_alone() -> None:
    one = method(epsilon=1.0)
    step(one, 0)
    for agent in one.agents.values():
        pool = agent.replay
        for i in range(2):
            for n in range(5):
                if n == pool.action[i]:
                    assert pool.state[i, n].any()
                    assert not pool.next_state[i, n].any()
                else:
                    assert torch.equal(pool.state[i, n], pool.next_state[i, n])


def test_the_replay_is_deaf_to_later_changes_of_the_features() -> None:
    one, source = method(), features(10, 0)
    one.losses(batch_of(source, features(10, 1), 0.5, 0, torch.Generator().manual_seed(0)))
    before = one.agents["rgb_source"].replay.state.clone()
    with torch.no_grad():
        source["rgb"].fill_(9.0)
    assert torch.equal(one.agents["rgb_source"].replay.state, before)
