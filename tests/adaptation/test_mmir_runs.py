"""MMIR: resuming bit for bit, and agents that learn a learnable task."""

import io

import pytest
import torch
from torch import Tensor, nn

from epicsub.adaptation import MMIR
from epicsub.adaptation.dqn import greedy
from epicsub.recipe.adaptation import MMIRAdaptation
from tests.adaptation.batches import batch_of, section
from tests.adaptation.mmir_pieces import EVERY, method, step

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
    one = MMIR({"rgb": 4}, section(MMIRAdaptation), q_hidden=(64,))
    one.discriminators["rgb"] = Marking()
    optimizer = torch.optim.SGD(one.agent_parameters(), lr=0.01, momentum=0.9)
    draw = torch.Generator().manual_seed(seed)
    for number in range(1500):
        source, target = planted(40, +1.0, draw)[0], planted(40, -1.0, draw)[0]
        losses = one.losses(batch_of({"rgb": source}, {"rgb": target}, 0.5, number, draw))
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
