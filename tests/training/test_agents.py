"""Agents step on their own: one whose loss or gradient is not finite misses its update, is counted, and told."""

import copy

import pytest
import torch
from torch import Tensor, nn

from epicsub.adaptation.dqn import Agent, Transitions
from epicsub.training.agents import AgentOptimizers

NAMES = ("rgb_source", "rgb_target")


class Overflow(torch.autograd.Function):
    """Its argument, with a gradient that is not a number."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, torch.nan)


def networks() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(3, 2) for name in NAMES})


def losses(agents: nn.ModuleDict, step: int, bad: str | None, kind: str) -> dict[str, Tensor]:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
    found = {name: agents[name](x).square().mean() for name in NAMES}
    if bad is not None:
        spoilt = {"nan": torch.nan, "inf": torch.inf}
        found[bad] = Overflow.apply(found[bad]) if kind == "gradient" else found[bad] * spoilt[kind]
    return found


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("missed", [0, 2])
def test_the_agent_alone_misses_the_update_alone(kind: str, missed: int) -> None:
    """Against an SGD per agent that is not called in the missed step; a first step that is missed leaves no trace."""
    agents, expected = networks(), networks()
    optimizers = AgentOptimizers({name: list(agents[name].parameters()) for name in NAMES}, 0.1, 0.9)
    plain = {name: torch.optim.SGD(expected[name].parameters(), lr=0.1, momentum=0.9) for name in NAMES}
    for step in range(5):
        before = copy.deepcopy(agents["rgb_target"])
        optimizers.step(losses(agents, step, "rgb_target" if step == missed else None, kind))
        same = [torch.equal(a, b) for a, b in zip(before.parameters(), agents["rgb_target"].parameters(), strict=True)]
        assert all(same) == (step == missed)
        for name, loss in losses(expected, step, None, kind).items():
            plain[name].zero_grad()
            if step != missed or name != "rgb_target":
                loss.backward()
                plain[name].step()
        for one, other in zip(agents.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)  # fused kernels round once less
    assert {name: int(count) for name, count in optimizers.skipped.items()} == {"rgb_source": 0, "rgb_target": 1}


def test_the_gradient_of_each_agent_is_clipped_to_its_own_norm() -> None:
    agents = networks()
    before = copy.deepcopy(agents)
    AgentOptimizers({n: list(agents[n].parameters()) for n in NAMES}, 1.0, clip_grad=0.01).step(
        losses(agents, 0, None, "")
    )
    for name in NAMES:
        moved = [b - a for b, a in zip(before[name].parameters(), agents[name].parameters(), strict=True)]
        assert torch.cat([m.flatten() for m in moved]).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_state_goes_into_a_checkpoint_and_back_also_that_of_one_optimizer_for_all() -> None:
    agents = networks()
    parameters = {name: list(agents[name].parameters()) for name in NAMES}
    optimizers = AgentOptimizers(parameters, 0.1, 0.9)
    for step in range(3):
        optimizers.step(losses(agents, step, "rgb_source" if step == 1 else None, "nan"))
    again = AgentOptimizers(parameters, 0.1, 0.9)
    again.load_state_dict(optimizers.state_dict())
    assert int(again.skipped["rgb_source"]) == 1
    together = torch.optim.SGD([p for ps in parameters.values() for p in ps], lr=0.1, momentum=0.9)
    for name in NAMES:
        for p in parameters[name]:
            together.state[p]["momentum_buffer"] = optimizers.optimizers[name].state[p]["momentum_buffer"].clone()
    earlier = AgentOptimizers(parameters, 0.1, 0.9)
    earlier.load_state_dict(together.state_dict())
    for name in NAMES:
        for p in parameters[name]:
            for other in (again, earlier):
                kept = other.optimizers[name].state[p]["momentum_buffer"]
                assert torch.equal(kept, optimizers.optimizers[name].state[p]["momentum_buffer"])
    earlier.step(losses(agents, 3, None, ""))


@pytest.mark.parametrize("huber", [False, True])
def test_the_loss_is_the_square_or_hubers(huber: bool) -> None:
    torch.manual_seed(0)
    agent = Agent(2, 3, replay_size=4, hidden=(5,))
    state = torch.randn(3, 2, 3)
    action, reward = torch.tensor([0, 1, 1]), torch.tensor([30.0, -0.5, 0.1])
    done, left = torch.ones(3, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool)
    agent.replay.push(Transitions(state, action, reward, state, done, left))
    q = agent.online(state)[torch.arange(3), action]
    error = (reward - q).abs()
    expected = torch.where(error < 1, 0.5 * error.square(), error - 0.5) if huber else error.square()
    found = [agent.loss(2, 0.9, True, torch.Generator().manual_seed(seed), huber) for seed in range(200)]
    pairs = {(i, j): expected[[i, j]].mean().item() for i in range(3) for j in range(i)}
    for loss in found:
        assert min(abs(loss.item() - value) for value in pairs.values()) < 1e-4
