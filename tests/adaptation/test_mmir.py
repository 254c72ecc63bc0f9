"""MMIR whole: rewards, refinement, losses, switches, resuming, and whether an agent learns a task that can be learned.

Shapes: B instances, K candidate sets, N candidates in each, D features.
"""

import copy
import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.adaptation import MMIR, Adversarial, mmir
from epicsub.adaptation.dqn import Agent, greedy
from epicsub.adaptation.mmir import candidate_sets, relevance, reward_of
from epicsub.adaptation.reversal import reversal_strength
from epicsub.errors import AdaptationError

DIMS = {"rgb": 6, "flow": 4}
EVERY = ["rgb_source", "rgb_target", "flow_source", "flow_target"]


def features(B: int, seed: int, dims: dict[str, int] = DIMS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, d, generator=generator).requires_grad_() for m, d in dims.items()}


def method(seed: int = 0, dims: dict[str, int] = DIMS, **settings: Any) -> MMIR:
    torch.manual_seed(seed)
    plain = {"q_hidden": (8,), "replay_size": 24, "replay_batch": 8, "discriminator_hidden": 5}
    return MMIR(dims, **(plain | settings))


def step(one: MMIR, number: int, B: int = 10, progress: float = 0.5) -> Any:
    return one.losses(
        features(B, 2 * number), features(B, 2 * number + 1), progress, number, torch.Generator().manual_seed(number)
    )


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
    assert reward_of(relevance(torch.tensor([sigma]), domain), tau).tolist() == [float(reward)]


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
    losses = one.losses(source, target, 0.5, 0, torch.Generator().manual_seed(0))
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
    one.losses(source, features(10, 1), 0.5, 0, torch.Generator().manual_seed(0))
    before = one.agents["rgb_source"].replay.state.clone()
    with torch.no_grad():
        source["rgb"].fill_(9.0)
    assert torch.equal(one.agents["rgb_source"].replay.state, before)


# --- losses -----------------------------------------------------------------------------------------------------------


def slow_step(one: MMIR, source: dict, target: dict, sets: dict[str, Tensor], progress: float) -> tuple:
    """Section 3 of the paper, a candidate set at a time, with greedy picks; sets are given."""
    alignment, removed, episodes = torch.zeros(()), {}, {}
    lam = reversal_strength(progress, one.lam_max)
    for m in DIMS:
        kept = {}
        for domain, f, d in (("source", source[m], 0), ("target", target[m], 1)):
            name, sigma = f"{m}_{domain}", torch.sigmoid(one.discriminators[m](f.detach())).tolist()
            out, episode = [], []
            for cand in sets[name].tolist():
                state, available = f.detach()[cand].clone(), set(range(len(cand)))
                for e in range(1, one.removals + 1):
                    q = one.agents[name].online(state[None])[0].tolist()
                    a = max(available, key=lambda j: q[j])
                    delta = sigma[cand[a]] if d == 0 else 1 - sigma[cand[a]]
                    after = state.clone()
                    after[a] = 0.0
                    available = available - {a}
                    episode.append((state, a, 1.0 if delta < 0.5 else -1.0, after, e == one.removals, available))
                    state = after
                    out.append(cand[a])
            removed[name], episodes[name] = sorted(out), episode
            kept[domain] = [i for i in range(len(f)) if i not in out]
        terms = [
            F.binary_cross_entropy_with_logits(
                one.discriminators[m](Reversed.apply(f[i : i + 1], lam))[0], torch.tensor(d)
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
    one = method(seed=5, epsilon=0.0, removals=removals, replay_size=100)
    dealt: list[Tensor] = []

    def record(count: int, candidates: int, generator: torch.Generator) -> Tensor:
        dealt.append(candidate_sets(count, candidates, generator))
        return dealt[-1]

    monkeypatch.setattr(mmir, "candidate_sets", record)
    source, target = features(12, 1), features(17, 2)
    losses = one.losses(source, target, 0.3, 0, torch.Generator().manual_seed(0))
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
    return [round(value, 5) for part in parts for value in torch.as_tensor(part).float().flatten().tolist()]


def test_an_instance_that_was_taken_out_gets_no_alignment_gradient_but_is_classified() -> None:
    one, source, target = method(), features(20, 1), features(20, 2)
    losses = one.losses(source, target, 0.5, 0, torch.Generator().manual_seed(0))
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
    losses = one.losses(source, target, 0.5, 3, torch.Generator().manual_seed(9))
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
    losses = one.losses(source, target, 0.5, 0, torch.Generator().manual_seed(0))
    losses.alignment.backward()
    torch.optim.SGD(one.alignment_parameters(), lr=100.0).step()
    after = one.discriminators["rgb"]
    pool = one.agents["rgb_source"].replay
    taken = pool.state[torch.arange(8), pool.action[:8]]
    with torch.no_grad():
        assert torch.equal(pool.reward[:8], reward_of(torch.sigmoid(before(taken)), 0.5))
        assert not torch.equal(pool.reward[:8], reward_of(torch.sigmoid(after(taken)), 0.5))


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
    assert one.exploration(agent) == pytest.approx(0.9)
    losses = step(one, 0, B=40)
    assert losses.logs["rgb_source/epsilon"] == pytest.approx(0.9)
    assert one.exploration(agent) == pytest.approx(0.01 + 0.89 * math.exp(-8 / 24000))
    agent.replay.pushed.fill_(64_000)
    assert one.exploration(agent) == pytest.approx(0.0719, abs=1e-4)
    assert step(method(epsilon=0.25), 0).logs["flow_target/epsilon"] == 0.25


# --- switches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [[], ["rgb_source"], ["flow_target"], EVERY[:2], ["rgb_target", "flow_source"], EVERY])
def test_each_agent_switches_by_itself(on: list[str]) -> None:
    """Rows of the paper's Table 2: what is on does the same whatever else is on."""
    one, full = method(agents=on), method()
    for number in range(6):
        losses, all_on = step(one, number, B=15), step(full, number, B=15)
        assert set(losses.removed) == set(on)
        assert {name.split("/")[0] for name in losses.logs} == {"reversal", *DIMS, *on}
        for name in on:
            assert torch.equal(losses.removed[name], all_on.removed[name])
    assert len(list(one.agent_parameters())) == 4 * len(on)
    assert (losses.agents is None) == (not on)
    source, target = features(15, 50), features(15, 51)
    losses = one.losses(source, target, 0.5, 6, torch.Generator().manual_seed(6))
    losses.alignment.backward()
    for m in DIMS:
        for domain, f in (("source", source), ("target", target)):
            with_gradient = f[m].grad.any(dim=1).sum().item()
            assert with_gradient == (12 if f"{m}_{domain}" in on else 15)


def test_one_modality_and_three() -> None:
    for dims in ({"audio": 3}, {"rgb": 6, "flow": 4, "audio": 3}):
        one = method(dims=dims)
        losses = one.losses(features(10, 1, dims), features(10, 2, dims), 0.5, 0, torch.Generator().manual_seed(0))
        assert set(losses.removed) == {f"{m}_{domain}" for m in dims for domain in ("source", "target")}


def test_kept_sets_differ_between_modalities() -> None:
    losses = step(method(), 0, B=40)
    assert losses.removed["rgb_source"].tolist() != losses.removed["flow_source"].tolist()


# --- reproducing and resuming -----------------------------------------------------------------------------------------


def run(one: MMIR, optimizers: list, first: int, last: int) -> list[float]:
    seen = []
    for number in range(first, last):
        losses = step(one, number, B=20, progress=number / 20)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (losses.alignment + (losses.agents if losses.agents is not None else 0.0)).backward()
        for optimizer in optimizers:
            optimizer.step()
        one.after_step(number)
        seen += [losses.alignment.item(), losses.agents.item() if losses.agents is not None else -1.0]
        seen += [float(value) for value in losses.logs.values()]
        seen += [float(value) for positions in losses.removed.values() for value in positions]
    return seen


def optimizers_of(one: MMIR) -> list:
    return [torch.optim.SGD(p, lr=0.05, momentum=0.9) for p in (one.alignment_parameters(), one.agent_parameters())]


@pytest.mark.parametrize("schedule", ["constant", "decay"])
def test_a_resumed_run_equals_the_uninterrupted_one(schedule: str) -> None:
    whole = method(removals=2, epsilon_schedule=schedule)
    whole_optimizers = optimizers_of(whole)
    figures = run(whole, whole_optimizers, 0, 20)
    again = method(removals=2, epsilon_schedule=schedule)
    assert run(again, optimizers_of(again), 0, 20) == figures

    first = method(removals=2, epsilon_schedule=schedule)
    first_optimizers = optimizers_of(first)
    begun = run(first, first_optimizers, 0, 10)
    file = io.BytesIO()
    torch.save([first.state_dict(), [o.state_dict() for o in first_optimizers]], file)
    file.seek(0)
    state, optimizer_states = torch.load(file, weights_only=True)
    second = method(seed=99, removals=2, epsilon_schedule=schedule)
    second.load_state_dict(state, strict=True)
    second_optimizers = optimizers_of(second)
    for optimizer, saved in zip(second_optimizers, optimizer_states, strict=True):
        optimizer.load_state_dict(saved)
    assert begun + run(second, second_optimizers, 10, 20) == figures
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_only_the_given_generator_is_read() -> None:
    one, two = method(), method()
    torch.manual_seed(1)
    first = step(one, 0)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = step(two, 0)
    assert all(torch.equal(first.removed[name], second.removed[name]) for name in EVERY)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_agents_learn_a_task_that_can_be_learned(seed: int) -> None:
    """A fifth of the instances are planted, and the (fixed) discriminator marks just them as of low relevance.

    Greedy picks in sets with one planted instance must be that one in more than 95 % after 1,500 steps.
    """
    torch.manual_seed(seed)
    one = MMIR({"rgb": 4}, q_hidden=(64,))
    one.discriminators["rgb"] = Marking()
    optimizer = torch.optim.SGD(one.agent_parameters(), lr=0.01, momentum=0.9)
    draw = torch.Generator().manual_seed(seed)
    for number in range(1500):
        source, target = planted(40, +1.0, draw)[0], planted(40, -1.0, draw)[0]
        losses = one.losses({"rgb": source}, {"rgb": target}, 0.5, number, draw)
        if losses.agents is not None:
            optimizer.zero_grad()
            losses.agents.backward()
            optimizer.step()
        one.after_step(number)
    for domain, side in (("source", +1.0), ("target", -1.0)):
        f, marked = planted(2000, side, draw, exactly=True)
        state_KND = f.view(400, 5, 4)
        with torch.no_grad():
            picks = greedy(one.agents[f"rgb_{domain}"].online(state_KND), torch.ones(400, 5, dtype=torch.bool))
        precision = marked.view(400, 5)[torch.arange(400), picks].float().mean().item()
        assert precision > 0.95, f"{domain}: {precision:.3f}, chance is 0.2"


class Marking(nn.Module):
    """Logit below 0 for planted source instances (first feature near -2), above 0 for planted target ones (near +2).

    What is not planted is relevant: above 0 in the source, below 0 in the target; the last feature says which.
    """

    def forward(self, f_BD: Tensor) -> Tensor:
        return torch.where(f_BD[:, 0].abs() > 1, f_BD[:, 0].sign(), f_BD[:, 3])


def planted(B: int, side: float, generator: torch.Generator, exactly: bool = False) -> tuple[Tensor, Tensor]:
    """Instances (B, 4) and which are planted: 20 % at random, or one in every five in a row."""
    marked = torch.rand(B, generator=generator) < 0.2
    if exactly:
        marked = torch.zeros(B // 5, 5, dtype=torch.bool)
        marked[torch.arange(B // 5), torch.randint(5, (B // 5,), generator=generator)] = True
        marked = marked.flatten()
    f_BD = 0.3 * torch.randn(B, 4, generator=generator)
    f_BD[:, 0] = f_BD[:, 0].clamp(-0.9, 0.9) - 2.0 * side * marked
    f_BD[:, 3] = side
    return f_BD, marked


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_settings_that_cannot_work_are_all_named() -> None:
    with pytest.raises(AdaptationError) as caught:
        method(removals=5, replay_batch=24, epsilon_schedule="linear", agents=["rgb_target", "audio_source"])
    message = str(caught.value)
    assert "agent 'audio_source': no such agent; there are rgb_source, rgb_target, flow_source, flow_target" in message
    assert "removals 5: must leave at least one of the 5 candidates" in message
    assert "replay_batch 24: must be smaller than replay_size 24" in message
    assert "epsilon_schedule 'linear'" in message


def test_a_batch_below_a_candidate_set_is_refused() -> None:
    with pytest.raises(AdaptationError, match=r"candidate set of 5; got rgb_source: 4, flow_source: 4"):
        method().losses(features(4, 0), features(5, 1), 0.5, 0, torch.Generator())
    method(agents=["rgb_target"]).losses(features(4, 0), features(5, 1), 0.5, 0, torch.Generator())


def test_methods_share_their_four_functions() -> None:
    for name in ("losses", "after_step", "alignment_parameters", "agent_parameters"):
        assert callable(getattr(MMIR, name))
        assert callable(getattr(Adversarial, name))
