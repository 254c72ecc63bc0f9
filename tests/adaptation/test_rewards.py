"""Rewards by the task, which the package offers, and those that the study alone tried, against slow versions."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy, rankdata

from benchmarks.simulation.rewards import AVERAGE, OtherRewards
from epicsub.adaptation.task import certainty, threshold_reward
from epicsub.models.heads import MASKED, TwoHeadOutput
from epicsub.recipe.adaptation import MMIRAdaptation
from tests.adaptation.batches import VERBS, batch_of, output_of, section
from tests.adaptation.mmir_pieces import DIMS, EVERY, features, method

B = 10


def step_batch(number: int = 0) -> Any:
    draw = torch.Generator().manual_seed(number)
    return batch_of(features(B, 2 * number), features(B, 2 * number + 1), 0.5, number, draw)


def by_task(**rewards: Any) -> Any:
    return method(rewards={"relevance": "task"} | rewards, classes=VERBS, epsilon=0.0)


def other(**switches: Any) -> OtherRewards:
    """As `method` makes MMIR, with such switches."""
    torch.manual_seed(0)
    sizes = {"replay_size": 24, "replay_batch": 8, "discriminator_hidden": 5, "epsilon": 0.0, "sync_every": 2}
    return OtherRewards(DIMS, section(MMIRAdaptation, **sizes), q_hidden=(8,), **switches)


def sigmoids(module: torch.nn.Module, f: torch.Tensor, domain: str) -> np.ndarray:
    p = torch.sigmoid(module(f.detach())).detach().numpy()
    return p if domain == "source" else 1 - p


def pushed(one: Any, name: str) -> list[float]:
    """Rewards that an agent remembers."""
    replay = one.agents[name].replay
    return replay.reward[: len(replay)].tolist()


# --- by the task ------------------------------------------------------------------------------------------------------


def test_a_quantile_pays_a_set_share_wherever_relevance_stands() -> None:
    delta_B = torch.rand(B, generator=torch.Generator().manual_seed(0)) + 5.0
    slow = delta_B.numpy()
    expected = np.where(slow < np.quantile(slow, 0.2), 1.0, -1.0)
    assert threshold_reward(delta_B, 0.5, quantile=0.2).tolist() == expected.tolist()
    assert (expected > 0).sum() == 2


def test_a_continuous_reward_is_the_distance_from_the_threshold_and_the_agents_are_paid_it() -> None:
    delta_B = torch.tensor([0.1, 0.45, 0.5, 0.52, 0.9])
    slow = np.clip((0.5 - delta_B.numpy()) / delta_B.numpy().std(ddof=1), -1, 1)
    np.testing.assert_allclose(threshold_reward(delta_B, 0.5, continuous=True).numpy(), slow, atol=1e-6)
    one, batch = by_task(continuous=True), step_batch()
    removed = one.losses(batch).removed
    rewards = one.instance_rewards(batch.source, batch.target)
    for name in EVERY:
        assert sorted(pushed(one, name)) == sorted(rewards[name][removed[name]].tolist())
        assert not set(pushed(one, name)) <= {-1.0, 1.0}


def test_source_instances_are_judged_by_the_entropy_of_their_prediction() -> None:
    one, batch = by_task(), step_batch()
    one.losses(batch)
    both = [entropy(x.double().softmax(1).numpy(), axis=1) for x in batch.source[:2]]
    slow = 1 - sum(both) / np.log([x.shape[1] for x in batch.source[:2]]).sum()
    deltas = one.rewards.deltas(batch.source, batch.target)
    for m in DIMS:
        np.testing.assert_allclose(deltas[f"{m}_source"].numpy(), slow, atol=1e-6)


def test_certainty_is_of_the_classes_there_are() -> None:
    """Eight of 97 verbs and no nouns: 0 where all eight are equally likely, 1 where one is certain."""
    verb = torch.full((3, 97), 2 * MASKED)
    verb[:, :8] = 0.0
    verb[1, 2] = 50.0
    verb[2, :8] = torch.arange(8.0)
    found = certainty(TwoHeadOutput(verb, torch.zeros(3, 300), {}))
    expected = [0.0, 1.0, 1 - entropy(np.exp(np.arange(8.0))) / np.log(8)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_no_class_in_half_of_the_verbs_still_has_an_entropy() -> None:
    """Recipes of fewer verbs write a large negative logit for the others."""
    output = output_of(features(B, 5))._replace(verb_logits_BV=torch.tensor([[3.0, 1.0, -1e4, -1e4]]).repeat(B, 1))
    assert torch.isfinite(certainty(output)).all()


def test_target_instances_that_are_far_from_every_class_are_paid() -> None:
    one, batch = by_task(quantile=0.3), step_batch()
    one.losses(batch)
    before = one.rewards.statistics["rgb"].total.clone()
    deltas = one.rewards.deltas(batch.source, batch.target)
    assert torch.equal(one.rewards.statistics["rgb"].total, before)  # looking teaches nothing
    assert before == B
    for m in DIMS:
        far = one.rewards.statistics[m].distance(batch.target.features[m].detach()).numpy()
        np.testing.assert_allclose(deltas[f"{m}_target"].numpy(), 1 - (rankdata(far) - 1) / (B - 1), atol=1e-6)
    assert torch.equal(deltas["rgb_source"], deltas["flow_source"])


def test_class_statistics_are_in_the_state() -> None:
    one, other_one, again = by_task(), by_task(), step_batch(3)
    one.losses(step_batch())
    other_one.load_state_dict(one.state_dict())
    assert {"rewards.statistics.rgb.sums", "rewards.statistics.flow.total"} <= set(one.state_dict())
    rewards = [m.instance_rewards(again.source, again.target) for m in (one, other_one)]
    assert all(torch.equal(rewards[0][name], rewards[1][name]) for name in EVERY)


# --- of the study alone -----------------------------------------------------------------------------------------------


def test_the_paper_s_rewards_are_what_the_switches_begin_at() -> None:
    plain, ours = method(epsilon=0.0), other()
    expected, found = plain.losses(step_batch()), ours.losses(step_batch())
    assert torch.equal(found.alignment, expected.alignment)
    for name in EVERY:
        assert torch.equal(found.removed[name], expected.removed[name])
        assert pushed(ours, name) == pushed(plain, name)


def test_an_averaged_judge_follows_the_weights_slowly_and_judges() -> None:
    one, batch = other(judge="averaged"), step_batch()
    trained, mean = one.discriminators["rgb"].out.weight, one.judges["rgb"].out.weight
    expected, current = mean.numpy().copy(), trained.detach().numpy().copy()
    np.testing.assert_array_equal(expected, current)
    for step in range(3):
        with torch.no_grad():
            trained += 1.0
        current = current + 1.0
        expected = AVERAGE * expected + (1 - AVERAGE) * current
        one.after_step(step)
    np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-6)
    assert not any(parameter is mean for parameter in one.alignment_parameters())
    slow = sigmoids(one.judges["rgb"], batch.target.features["rgb"], "target")
    np.testing.assert_allclose(one.deltas(batch.source, batch.target)["rgb_target"].numpy(), slow, atol=1e-6)


def test_an_unreversed_judge_learns_and_nothing_else_does_by_it() -> None:
    with_judge, batch = other(judge="unreversed"), step_batch()
    with_judge.losses(batch).alignment.backward()
    plain, same = method(epsilon=0.0), step_batch()
    plain.losses(same).alignment.backward()
    for m in DIMS:
        assert torch.equal(batch.source.features[m].grad, same.source.features[m].grad)
        assert torch.equal(batch.target.features[m].grad, same.target.features[m].grad)
        assert with_judge.judges[m].out.weight.grad.abs().sum() > 0
    stepped = {id(parameter) for parameter in with_judge.alignment_parameters()}
    assert {id(parameter) for parameter in with_judge.judges.parameters()} <= stepped


def test_entropy_pays_for_what_the_model_is_unsure_of() -> None:
    one, batch = other(entropy=True, quantile=0.3), step_batch()
    for domain, output in (("source", batch.source), ("target", batch.target)):
        expected = threshold_reward(certainty(output), 0.5, 0.3)
        rewards = one.instance_rewards(batch.source, batch.target)
        assert all(torch.equal(rewards[f"{m}_{domain}"], expected) for m in DIMS)


@pytest.mark.parametrize("flush", [False, True])
def test_flushed_picks_are_gone_when_the_target_network_is_copied(flush: bool) -> None:
    one, batch = other(flush=flush), step_batch()
    one.losses(batch)
    one.after_step(0)
    assert all(len(agent.replay) == 2 for agent in one.agents.values())
    one.losses(batch)
    one.after_step(1)
    assert all(len(agent.replay) == (0 if flush else 4) for agent in one.agents.values())
