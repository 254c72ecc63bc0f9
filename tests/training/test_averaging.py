"""Averages of weights against slow references, and their way through a state dict."""

import copy

import pytest
import torch
from torch import nn

from epicsub.training.layers import Part
from epicsub.training.selection import WeightAverage, refresh_batch_norms


def walk(steps: int) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """A model whose weights and buffers change at each step, and all its states."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    states = []
    for _ in range(steps):
        states.append(copy.deepcopy(model.state_dict()))
    return model, states


def change(model: nn.Module) -> None:
    with torch.no_grad():
        for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            value.add_(torch.randn_like(value))


def run(average: WeightAverage, model: nn.Module, first: int, last: int, states: list) -> None:
    for steps in range(first, last + 1):
        change(model)
        states.append(copy.deepcopy(model.state_dict()))
        average.update(model, steps)


@pytest.mark.parametrize("decay", [0.3, 0.99])
def test_ema_is_the_running_formula(decay: float) -> None:
    model, states = walk(0)
    average = WeightAverage(model, "ema", decay=decay)
    assert average.model is None
    run(average, model, 1, 30, states)
    expected = states[0]["0.weight"].double()
    for number, state in enumerate(states[1:], 1):
        share = min(decay, (1 + number) / (10 + number))
        expected = share * expected + (1 - share) * state["0.weight"].double()
    assert average.model is not None
    averaged = average.model.state_dict()
    torch.testing.assert_close(averaged["0.weight"].double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(averaged["1.running_mean"], states[-1]["1.running_mean"])


def test_swa_is_the_plain_mean_of_the_chosen_steps() -> None:
    model, states = walk(0)
    average = WeightAverage(model, "swa", start=4, every=3)
    run(average, model, 1, 4, states)
    assert average.model is None
    run(average, model, 5, 12, states)  # counts steps 5, 8, 11
    expected = torch.stack([states[step - 1]["0.bias"] for step in (5, 8, 11)]).mean(0)
    assert average.model is not None
    torch.testing.assert_close(average.model.state_dict()["0.bias"], expected)


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_an_average_goes_on_to_the_bit(name: str) -> None:
    model, states = walk(0)
    whole = WeightAverage(model, name, start=2)  # type: ignore[arg-type]
    run(whole, model, 1, 7, states)
    resumed = WeightAverage(copy.deepcopy(model), name, start=2)  # type: ignore[arg-type]
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for steps in range(8, 12):
        change(model)
        whole.update(model, steps)
        resumed.update(model, steps)
    for one, other in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_batch_norms_get_the_mean_over_the_batches() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    batches = [torch.randn(8, 3) + shift for shift in (0.0, 5.0, 1.0)]
    model(torch.randn(8, 3) * 100)
    refresh_batch_norms(model, batches)
    torch.testing.assert_close(model[0].running_mean, torch.stack([b.mean(0) for b in batches]).mean(0))
    torch.testing.assert_close(model[0].running_var, torch.stack([b.var(0) for b in batches]).mean(0))


def test_frozen_batch_norms_keep_their_statistics_and_normalise_by_them() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).eval()
    nn.init.constant_(model[0].running_mean, 7.0)
    before, clips = copy.deepcopy(model[0].state_dict()), torch.randn(8, 3)
    refresh_batch_norms(model, [clips], [Part("0", 1.0, 5), Part("1", 1.0, 4)], step=4)
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())
    torch.testing.assert_close(model[1].running_mean, (clips - 7.0).mean(0), atol=1e-4, rtol=1e-4)
    assert [module.training for module in model.modules()] == [False] * 3
    assert model[1].momentum == 0.1
