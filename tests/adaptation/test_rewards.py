"""Rewards of ours for MMIR's agents: each switch against a slow version of itself, and what it reaches."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy, rankdata

from epicsub.adaptation import RewardSettings
from epicsub.adaptation.rewards import AVERAGE, certainty
from epicsub.models.heads import MASKED, TwoHeadOutput
from tests.adaptation.batches import VERBS, batch_of, output_of
from tests.adaptation.mmir_pieces import DIMS, EVERY, features, method

B = 10


def paid(number: int = 0, **rewards: Any) -> Any:
    """MMIR with such rewards, and a step's batch."""
    one = method(rewards=RewardSettings(**rewards), classes=VERBS, epsilon=0.0)
    draw = torch.Generator().manual_seed(number)
    return one, batch_of(features(B, 2 * number), features(B, 2 * number + 1), 0.5, number, draw)


def sigmoids(module: torch.nn.Module, f: torch.Tensor, domain: str) -> np.ndarray:
    p = torch.sigmoid(module(f.detach())).detach().numpy()
    return p if domain == "source" else 1 - p


def pushed(one: Any, name: str) -> list[float]:
    """Rewards that an agent remembers."""
    replay = one.agents[name].replay
    return replay.reward[: len(replay)].tolist()


def test_the_paper_s_rewards_are_what_the_switches_begin_at() -> None:
    plain, (ours, batch) = method(epsilon=0.0), paid()
    expected = plain.losses(
        batch_of(batch.source.features, batch.target.features, 0.5, 0, torch.Generator().manual_seed(0))
    )
    found = ours.losses(batch)
    assert torch.equal(found.alignment, expected.alignment)
    for name in EVERY:
        assert torch.equal(found.removed[name], expected.removed[name])
        assert pushed(ours, name) == pushed(plain, name)


def test_a_quantile_pays_a_set_share_wherever_the_discriminator_stands() -> None:
    one, batch = paid(quantile=0.2)
    for discriminator in one.discriminators.values():
        torch.nn.init.constant_(discriminator.out.bias, 5.0)  # by the fixed threshold the whole target would be paid
    deltas = one.rewards.deltas(batch.source, batch.target, one.discriminators)
    for name, delta_B in deltas.items():
        modality, _, domain = name.partition("_")
        features_of = batch.source.features if domain == "source" else batch.target.features
        slow = sigmoids(one.discriminators[modality], features_of[modality], domain)
        np.testing.assert_allclose(delta_B.numpy(), slow, atol=1e-6)
        expected = np.where(slow < np.quantile(slow, 0.2), 1.0, -1.0)
        assert one.rewards.of_delta(delta_B, 0.5).tolist() == expected.tolist()
        assert (expected > 0).sum() == 2


def test_a_continuous_reward_is_the_distance_from_the_threshold_and_the_agents_are_paid_it() -> None:
    one, batch = paid(continuous=True)
    delta_B = torch.tensor([0.1, 0.45, 0.5, 0.52, 0.9])
    slow = np.clip((0.5 - delta_B.numpy()) / delta_B.numpy().std(ddof=1), -1, 1)
    np.testing.assert_allclose(one.rewards.of_delta(delta_B, 0.5).numpy(), slow, atol=1e-6)
    removed = one.losses(batch).removed
    deltas = one.rewards.deltas(batch.source, batch.target, one.discriminators)
    for name in EVERY:
        rewards = one.rewards.of_delta(deltas[name], 0.5)
        assert sorted(pushed(one, name)) == sorted(rewards[removed[name]].tolist())
        assert not set(pushed(one, name)) <= {-1.0, 1.0}


def test_an_averaged_judge_follows_the_weights_slowly_and_judges() -> None:
    one, batch = paid(judge="averaged")
    trained, mean = one.discriminators["rgb"].out.weight, one.rewards.judges["rgb"].out.weight
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
    deltas = one.rewards.deltas(batch.source, batch.target, one.discriminators)
    slow = sigmoids(one.rewards.judges["rgb"], batch.target.features["rgb"], "target")
    np.testing.assert_allclose(deltas["rgb_target"].numpy(), slow, atol=1e-6)


def test_an_unreversed_judge_learns_and_nothing_else_does_by_it() -> None:
    with_judge, batch = paid(judge="unreversed")
    with_judge.losses(batch).alignment.backward()
    plain = method(epsilon=0.0)
    source, target = features(B, 0), features(B, 1)
    plain.losses(batch_of(source, target, 0.5, 0, torch.Generator().manual_seed(0))).alignment.backward()
    for m in DIMS:
        assert torch.equal(batch.source.features[m].grad, source[m].grad)
        assert torch.equal(batch.target.features[m].grad, target[m].grad)
        assert with_judge.rewards.judges[m].out.weight.grad.abs().sum() > 0
    stepped = {id(parameter) for parameter in with_judge.alignment_parameters()}
    assert {id(parameter) for parameter in with_judge.rewards.judges.parameters()} <= stepped


def test_entropy_pays_for_what_the_model_is_unsure_of() -> None:
    one, batch = paid(relevance="entropy", quantile=0.3)
    deltas = one.rewards.deltas(batch.source, batch.target, one.discriminators)
    for domain, output in (("source", batch.source), ("target", batch.target)):
        logits = (output.verb_logits_BV, output.noun_logits_BN)
        both = [entropy(x.double().softmax(1).numpy(), axis=1) for x in logits]
        slow = 1 - sum(both) / np.log([x.shape[1] for x in logits]).sum()
        for m in DIMS:
            np.testing.assert_allclose(deltas[f"{m}_{domain}"].numpy(), slow, atol=1e-6)


def test_certainty_is_of_the_classes_there_are() -> None:
    """Eight of 97 verbs and no nouns: 0 where all eight are as likely, 1 where one is sure."""
    verb = torch.full((3, 97), 2 * MASKED)
    verb[:, :8] = 0.0
    verb[1, 2] = 50.0
    verb[2, :8] = torch.arange(8.0)
    found = certainty(TwoHeadOutput(verb, torch.zeros(3, 300), {}))
    expected = [0.0, 1.0, 1 - entropy(np.exp(np.arange(8.0))) / np.log(8)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_the_task_pays_for_target_instances_that_are_far_from_every_class() -> None:
    one, batch = paid(relevance="task", quantile=0.3)
    one.losses(batch)
    before = one.rewards.statistics["rgb"].total.clone()
    deltas = one.rewards.deltas(batch.source, batch.target, one.discriminators)
    assert torch.equal(one.rewards.statistics["rgb"].total, before)  # looking teaches nothing
    assert before == B
    for m in DIMS:
        far = one.rewards.statistics[m].distance(batch.target.features[m].detach()).numpy()
        np.testing.assert_allclose(deltas[f"{m}_target"].numpy(), 1 - (rankdata(far) - 1) / (B - 1), atol=1e-6)
    assert torch.equal(deltas["rgb_source"], deltas["flow_source"])


def test_no_class_in_half_of_the_verbs_still_has_an_entropy() -> None:
    """Recipes of fewer verbs write a large negative logit for the others."""
    one, batch = paid(relevance="entropy")
    source = batch.source._replace(verb_logits_BV=torch.tensor([[3.0, 1.0, -1e4, -1e4]]).repeat(B, 1))
    deltas = one.rewards.deltas(source, output_of(features(B, 5)), one.discriminators)
    assert torch.isfinite(deltas["rgb_source"]).all()


def test_flushed_picks_are_gone_when_the_target_network_is_copied() -> None:
    one, batch = method(flush_replay=True, sync_every=2), paid()[1]
    one.losses(batch)
    one.after_step(0)
    assert all(len(agent.replay) == 2 for agent in one.agents.values())
    one.losses(batch)
    one.after_step(1)
    assert all(len(agent.replay) == 0 for agent in one.agents.values())


@pytest.mark.parametrize("rewards", [{"judge": "averaged"}, {"judge": "unreversed"}, {"relevance": "task"}])
def test_what_the_rewards_know_is_in_the_state(rewards: dict[str, Any]) -> None:
    one, batch = paid(**rewards)
    one.losses(batch)
    other, _ = paid(**rewards)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(one.state_dict())
    again = batch_of(features(B, 3), features(B, 4))
    deltas = [m.rewards.deltas(again.source, again.target, m.discriminators) for m in (one, other)]
    assert all(torch.equal(deltas[0][name], deltas[1][name]) for name in EVERY)
