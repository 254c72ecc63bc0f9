"""MMIR: its losses against section 3 of the paper an instance at a time, and what they reach."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation import MMIR, mmir
from epicsub.adaptation.discriminator import reversal_strength
from epicsub.adaptation.dqn import Agent, ReplayPool, Transitions, candidate_sets
from epicsub.adaptation.task import threshold_reward
from tests.adaptation.batches import batch_of
from tests.adaptation.mmir_pieces import DIMS, EVERY, features, method, step

# --- losses -----------------------------------------------------------------------------------------------------------


def slow_step(one: MMIR, source: dict, target: dict, sets: dict[str, Tensor], progress: float) -> tuple:
    """Section 3 of the paper, a candidate set at a time, with greedy picks; sets are given."""
    alignment, removed, episodes = torch.zeros((), dtype=torch.float64), {}, {}
    lam = reversal_strength(progress, one.settings.lam_max)
    for m in DIMS:
        kept = {}
        for domain, f, d in (("source", source[m], 0), ("target", target[m], 1)):
            name, sigma = f"{m}_{domain}", torch.sigmoid(one.discriminators[m](f.detach())).tolist()
            out, episode = [], []
            for cand in sets[name].tolist():
                state, available = f.detach()[cand].clone(), set(range(len(cand)))
                for e in range(1, one.settings.removals + 1):
                    q = one.agents[name].online(state[None])[0].tolist()
                    a = max(available, key=lambda j: q[j])
                    delta = sigma[cand[a]] if d == 0 else 1 - sigma[cand[a]]
                    after = state.clone()
                    after[a] = 0.0
                    available = available - {a}
                    episode.append(
                        (state, a, 1.0 if delta < 0.5 else -1.0, after, e == one.settings.removals, available)
                    )
                    state = after
                    out.append(cand[a])
            removed[name], episodes[name] = sorted(out), episode
            kept[domain] = [i for i in range(len(f)) if i not in out]
        terms = [
            F.binary_cross_entropy_with_logits(
                one.discriminators[m](Reversed.apply(f[i : i + 1], lam))[0], torch.tensor(d, dtype=torch.float64)
            )
            for f, domain, d in ((source[m], "source", 0.0), (target[m], "target", 1.0))
            for i in kept[domain]
        ]
        alignment = alignment + torch.stack(terms).mean()
    return alignment, removed, episodes


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lam: float) -> Tensor:
        ctx.lam = lam
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * -ctx.lam, None


@pytest.mark.parametrize("removals", [1, 3])
def test_a_step_equals_the_slow_one(removals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = method(seed=5, epsilon=0.0, removals=removals, replay_size=100).double()
    dealt: list[Tensor] = []

    def record(count: int, candidates: int, generator: torch.Generator) -> Tensor:
        dealt.append(candidate_sets(count, candidates, generator))
        return dealt[-1]

    monkeypatch.setattr(mmir, "candidate_sets", record)
    source, target = doubled(features(12, 1)), doubled(features(17, 2))
    losses = one.losses(batch_of(source, target, 0.3, 0, torch.Generator().manual_seed(0)))
    losses.alignment.backward()
    fast = {
        "source": {m: f.grad.clone() for m, f in source.items()},
        "target": {m: f.grad.clone() for m, f in target.items()},
        "discriminators": [p.grad.clone() for p in one.alignment_parameters()],
    }
    for leaf in (*source.values(), *target.values(), *one.alignment_parameters()):
        leaf.grad = None
    sets = dict(zip(EVERY, dealt, strict=True))
    alignment, removed, episodes = slow_step(one, source, target, sets, 0.3)
    alignment.backward()
    assert losses.alignment.dtype == torch.float64
    torch.testing.assert_close(losses.alignment, alignment)
    assert {name: positions.tolist() for name, positions in losses.removed.items()} == removed
    for m in DIMS:
        torch.testing.assert_close(fast["source"][m], source[m].grad)
        torch.testing.assert_close(fast["target"][m], target[m].grad)
    for ours, theirs in zip(fast["discriminators"], one.alignment_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.grad)
    for name, episode in episodes.items():
        pool = one.agents[name].replay
        pushed = int(pool.pushed)
        assert pushed == len(episode)
        rows = [
            row_of(pool.state[i], pool.action[i], pool.reward[i], pool.next_state[i], pool.done[i])
            for i in range(pushed)
        ]
        assert sorted(rows) == sorted(row_of(s, a, r, after, done) for s, a, r, after, done, _ in episode)


def row_of(*parts: Any) -> list[float]:
    return [round(value, 9) for part in parts for value in torch.as_tensor(part).double().flatten().tolist()]


def doubled(f: dict[str, Tensor]) -> dict[str, Tensor]:
    """Features in float64."""
    return {m: x.detach().double().requires_grad_() for m, x in f.items()}


@pytest.mark.parametrize(("gamma", "double"), [(0.9, True), (0.9, False), (0.4, True)])
def test_the_agents_learn_by_their_own_settings(gamma: float, double: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eq 5 and 6 by hand over what each agent replays, with two removals an episode, so that there is a next value."""
    one = method(seed=2, removals=2, gamma=gamma, double=double).double()
    for agent in one.agents.values():
        for parameter in agent.target.parameters():
            parameter.data.mul_(-2.0)  # away from the network that learns
    replayed: list[Transitions] = []

    def record(pool: ReplayPool, count: int, generator: torch.Generator) -> Transitions:
        replayed.append(sample(pool, count, generator))
        return replayed[-1]

    sample = ReplayPool.sample
    monkeypatch.setattr(ReplayPool, "sample", record)
    batch = batch_of(doubled(features(25, 1)), doubled(features(25, 2)), 0.5, 0, torch.Generator().manual_seed(0))
    loss, expected = one.losses(batch).agents, 0.0
    assert len(replayed) == len(EVERY)
    for name, batch in zip(EVERY, replayed, strict=True):
        agent = one.agents[name]
        for i in range(len(batch.reward)):
            y = batch.reward[i].item()
            if not batch.done[i]:
                options = batch.available_next[i].nonzero().flatten().tolist()
                by_online, by_target = (net(batch.next_state[i : i + 1])[0] for net in (agent.online, agent.target))
                chooser = by_online if double else by_target
                y += gamma * by_target[max(options, key=lambda n: chooser[n].item())].item()
            q = agent.online(batch.state[i : i + 1])[0, batch.action[i]].item()
            expected += (y - q) ** 2 / len(batch.reward)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_an_instance_that_was_taken_out_gets_no_alignment_gradient_but_is_classified() -> None:
    one, source, target = method(), features(20, 1), features(20, 2)
    losses = one.losses(batch_of(source, target, 0.5, 0, torch.Generator().manual_seed(0)))
    losses.alignment.backward()
    for domain, f in (("source", source), ("target", target)):
        for m in DIMS:
            out = losses.removed[f"{m}_{domain}"]
            silent = ~f[m].grad.any(dim=1)
            assert set(silent.nonzero().flatten().tolist()) == set(out.tolist())
    head, labels = nn.Linear(6, 7), torch.arange(20) % 7
    (gradient,) = torch.autograd.grad(F.cross_entropy(head(source["rgb"]), labels), source["rgb"])
    assert gradient[losses.removed["rgb_source"]].any(dim=1).all()


def test_the_agents_loss_reaches_the_agents_alone() -> None:
    one = method(removals=2)
    for number in range(3):
        losses = step(one, number, B=20)
    source, target = features(20, 90), features(20, 91)
    losses = one.losses(batch_of(source, target, 0.5, 3, torch.Generator().manual_seed(9)))
    losses.agents.backward()
    assert all(f.grad is None for f in (*source.values(), *target.values()))
    assert all(p.grad is None for p in one.alignment_parameters())
    trained = {id(p) for p in one.agent_parameters()}
    assert {id(p) for p in one.parameters() if p.grad is not None} == trained
    assert trained.isdisjoint(id(p) for p in one.alignment_parameters())
    for agent in one.agents.values():
        assert trained.isdisjoint(id(p) for p in agent.target.parameters())
    assert len(trained) == 4 * 4


def test_the_agents_loss_is_a_sum_over_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    one = method()
    assert step(method(), 0).agents is None  # 2 transitions, batches of 8
    for number in range(5):
        step(one, number)
    values: list[float] = []
    original = Agent.loss

    def recorded(agent: Agent, *arguments: Any) -> Tensor | None:
        value = original(agent, *arguments)
        assert value is not None
        values.append(value.item())
        return value

    monkeypatch.setattr(Agent, "loss", recorded)
    losses = step(one, 5)
    assert len(values) == 4
    assert losses.agents.item() == pytest.approx(sum(values))


def test_rewards_come_from_the_discriminator_before_its_update() -> None:
    one = method(dims={"rgb": 6}, epsilon=1.0, agents=["rgb_source"])
    before = copy.deepcopy(one.discriminators["rgb"])
    source, target = features(40, 1, {"rgb": 6}), features(40, 2, {"rgb": 6})
    losses = one.losses(batch_of(source, target, 0.5, 0, torch.Generator().manual_seed(0)))
    losses.alignment.backward()
    torch.optim.SGD(one.alignment_parameters(), lr=100.0).step()
    after = one.discriminators["rgb"]
    pool = one.agents["rgb_source"].replay
    taken = pool.state[torch.arange(8), pool.action[:8]]
    with torch.no_grad():
        assert torch.equal(pool.reward[:8], threshold_reward(torch.sigmoid(before(taken)), 0.5))
        assert not torch.equal(pool.reward[:8], threshold_reward(torch.sigmoid(after(taken)), 0.5))


# --- schedules --------------------------------------------------------------------------------------------------------


def test_the_target_networks_are_copied_every_six_steps() -> None:
    one = method()
    for number in range(13):
        with torch.no_grad():
            for parameter in one.agent_parameters():
                parameter.add_(1.0)
        one.after_step(number)
        for agent in one.agents.values():
            equal = [
                torch.equal(a, b) for a, b in zip(agent.online.parameters(), agent.target.parameters(), strict=True)
            ]
            assert set(equal) == {number in (5, 11)}


def test_exploration_decays_over_an_agents_picks() -> None:
    one = method(epsilon_schedule="decay")
    agent = one.agents["rgb_source"]
    assert one._exploration(agent) == pytest.approx(0.9)
    losses = step(one, 0, B=40)
    assert losses.logs["rgb_source/epsilon"] == pytest.approx(0.9)
    assert one._exploration(agent) == pytest.approx(0.01 + 0.89 * math.exp(-8 / 24000))
    agent.replay.pushed.fill_(64_000)
    assert one._exploration(agent) == pytest.approx(0.0719, abs=1e-4)
    assert step(method(epsilon=0.25), 0).logs["flow_target/epsilon"] == 0.25
