"""Policies: their gradient, the sign of their reward, and a toy world in which one group teaches most."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.order_toy import toy_run
from epicsub.pretext.order import order_loss
from epicsub.pretext.permutations import temporal_permutations
from epicsub.pretext.policy import (
    ENTROPY,
    MIXING,
    Chooser,
    PolicySettings,
    mixed_probabilities,
    policy_loss,
)

EVEN = torch.full((12,), 1 / 12, dtype=torch.float64)


def test_even_probabilities_give_plain_cross_entropy() -> None:
    logits, labels = torch.randn(32, 12), torch.randint(12, (32,))
    assert float(order_loss(logits, labels, EVEN)) == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-6)


def prior_error(seed: int, adjusted: bool) -> float:
    """Error on even classes of a small network that saw half of its draws from 3 of 12 classes of noisy orders."""
    torch.manual_seed(seed)
    orders = torch.from_numpy(temporal_permutations())
    network = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 12))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    probability_N = torch.full((12,), 0.5 / 12, dtype=torch.float64)
    probability_N[:3] += 0.5 / 3
    for _ in range(700):
        label_B = torch.multinomial(probability_N, 32, replacement=True)
        seen = orders[label_B].float() + 0.45 * torch.randn(32, 4)
        loss = order_loss(network(seen), label_B, probability_N if adjusted else EVEN)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        label_V = torch.arange(12_000) % 12
        seen = orders[label_V].float() + 0.45 * torch.randn(12_000, 4, generator=torch.Generator().manual_seed(9))
        return float((network(seen).argmax(1) != label_V).double().mean())


def test_a_chosen_group_does_not_shift_the_answers() -> None:
    pairs = [(prior_error(seed, True), prior_error(seed, False)) for seed in range(8)]
    assert all(adjusted < plain for adjusted, plain in pairs), pairs


@pytest.mark.parametrize("policy", ["bandit", "network"])
def test_the_gradient_is_that_of_finite_differences(policy: str) -> None:
    chooser = Chooser(6, "policy", PolicySettings(policy=policy), seed=0)  # type: ignore[arg-type]
    chooser.end(0.8, [0.9, 0.8, 0.7, 0.8, 0.9, 0.7])
    chooser.end(0.7, [0.8, 0.7, 0.6, 0.8, 0.7, 0.6])
    with torch.no_grad():
        for parameter in chooser.policy.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    chooser.policy.double()
    state = torch.tensor(chooser.state_dict()["kept"]["state"], dtype=torch.float64)
    taken_G = torch.zeros(6, dtype=torch.float64)
    taken_G[2] = 1.0

    def loss() -> torch.Tensor:
        return policy_loss(mixed_probabilities(chooser.policy(state), MIXING[policy]), taken_G, 1.7)

    loss().backward()
    for parameter in chooser.policy.parameters():
        assert parameter.grad is not None
        flat, grad = parameter.data.view(-1), parameter.grad.view(-1)
        for place in range(0, len(flat), max(1, len(flat) // 7)):
            kept = float(flat[place])
            values = []
            for change in (1e-5, -1e-5):
                flat[place] = kept + change
                values.append(float(loss().detach()))
            flat[place] = kept
            assert float(grad[place]) == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8)


def test_the_expected_gradient_of_log_probabilities_is_zero_and_no_advantage_leaves_entropy() -> None:
    logits_G = torch.randn(6, dtype=torch.float64, requires_grad=True)
    pi_G = mixed_probabilities(logits_G, 0.1)
    expected = torch.autograd.grad((pi_G.detach() * pi_G.log()).sum(), logits_G, retain_graph=True)[0]
    assert float(expected.abs().max()) < 1e-12
    taken_G = torch.eye(6, dtype=torch.float64)[1]
    left = torch.autograd.grad(policy_loss(pi_G, taken_G, 0.0), logits_G, retain_graph=True)[0]
    entropy = torch.autograd.grad(ENTROPY * (pi_G * pi_G.log()).sum(), logits_G)[0]
    assert torch.allclose(left, entropy)


def test_a_falling_error_is_a_gain_and_a_negated_reward_is_its_opposite() -> None:
    logs = []
    for negated in (False, True):
        chooser = Chooser(6, "policy", PolicySettings(negated=negated), seed=0)
        chooser.end(0.9, [0.9] * 6)
        for error in (0.9, 0.6):
            chooser.begin(0.0, torch.Generator().manual_seed(0))
            log = chooser.end(error, [error] * 6)
        logs.append(log)
    assert logs[0]["gain"] == logs[1]["gain"] == pytest.approx(1 / 3)
    assert logs[0]["reward"] == -logs[1]["reward"] > 0
    falling = Chooser(6, "policy", PolicySettings(baseline="trend"), seed=0)
    for error in (0.8, 0.72, 0.648, 0.5):  # faster than the line through the logarithms
        falling.begin(0.0, torch.Generator().manual_seed(0))
        log = falling.end(error, [error] * 6)
    assert log["reward"] == pytest.approx(0.648 * 0.9 - 0.5)


def test_fixed_courses_go_through_the_groups() -> None:
    for choice, expected in (("near_to_far", [0, 1, 2, 3, 4, 5]), ("far_to_near", [5, 4, 3, 2, 1, 0])):
        chooser, seen = Chooser(6, choice, PolicySettings(), seed=0), []  # type: ignore[arg-type]
        for phase in range(12):
            chooser.begin(phase / 12, torch.Generator())
            seen.append(chooser.action)
        assert seen[::2] == seen[1::2] == expected


def test_the_policy_finds_the_group_that_teaches_most_and_a_negated_one_avoids_it() -> None:
    runs = [toy_run(seed, "policy", PolicySettings()) for seed in range(20)]
    assert sum(run.useful > 0.5 for run in runs) >= 18
    assert np.mean([run.error for run in runs]) < 0.20
    uniform = np.mean([toy_run(seed, "uniform", PolicySettings()).error for seed in range(5)])
    negated = [toy_run(seed, "policy", PolicySettings(negated=True)) for seed in range(5)]
    assert np.mean([run.error for run in negated]) > uniform
    clip = [toy_run(seed, "policy", PolicySettings(credit="clip")) for seed in range(10)]
    assert np.mean([run.useful for run in clip]) < 0.25  # thousands of draws share one reward


def test_without_a_group_that_teaches_more_no_group_is_preferred_on_average() -> None:
    found = np.array([toy_run(seed, "policy", PolicySettings(), equal=True).useful for seed in range(40)])
    assert abs(found.mean() - 1 / 6) <= 3 * found.std(ddof=1) / math.sqrt(len(found))


def test_a_state_that_is_taken_up_goes_on_as_it_would_have() -> None:
    whole = Chooser(6, "policy", PolicySettings(policy="network"), seed=0)
    resumed = Chooser(6, "policy", PolicySettings(policy="network"), seed=1)
    errors = np.random.default_rng(0).random((12, 6)).tolist()
    for phase, error_G in enumerate(errors):
        if phase == 7:
            resumed.load_state_dict(deepcopy(whole.state_dict()))
        for chooser in (whole, *([resumed] if phase >= 7 else [])):
            chooser.end(float(np.mean(error_G)), error_G)
            chooser.begin(phase / 12, torch.Generator().manual_seed(phase))
    assert resumed.action == whole.action
    assert torch.equal(resumed.probabilities(), whole.probabilities())
