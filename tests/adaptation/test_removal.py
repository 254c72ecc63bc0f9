"""The controls: who goes, how many, and that nothing else differs from adversarial-only."""

import pytest
import torch

from epicsub.adaptation import Adversarial
from epicsub.adaptation.adversarial import RuleRemoval
from epicsub.adaptation.discriminator import domain_loss, reversal_strength
from epicsub.adaptation.interface import kept_mask
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import (
    AdversarialAdaptation,
    MinDeltaAdaptation,
    OracleAdaptation,
    RandomRemovalAdaptation,
)
from tests.adaptation.batches import batch_of, features, section

DIMS = {"rgb": 6, "flow": 4}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(kind, outliers=(), **settings) -> RuleRemoval:
    torch.manual_seed(3)
    if kind is OracleAdaptation:
        settings["outliers"] = "read elsewhere.csv"
    return RuleRemoval(DIMS, section(kind, discriminator_hidden=5, **settings), outliers)


def without(features_BD: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    return features_BD[kept_mask(removed, len(features_BD))]


def test_the_highest_of_every_set_go() -> None:
    score = torch.randn(23, generator=generator(5))
    order = torch.randperm(23, generator=generator(1)).tolist()
    for removals in (1, 2):
        expected = []
        for start in range(0, 20, 5):
            candidates = order[start : start + 5]
            expected += sorted(candidates, key=lambda i: -score[i])[:removals]
        assert made(MinDeltaAdaptation, removals=removals)._highest_of_sets(score, generator(1)).tolist() == sorted(
            expected
        )


def test_without_keeps_the_others_in_order() -> None:
    x = torch.arange(10.0)[:, None]
    assert without(x, torch.tensor([0, 4, 9])).flatten().tolist() == [1, 2, 3, 5, 6, 7, 8]


def test_min_delta_takes_the_lowest_relevance_of_each_domain() -> None:
    source, target = features(5, 1, DIMS), features(5, 2, DIMS)
    method = made(MinDeltaAdaptation)
    removed = method.losses(batch_of(source, target)).removed
    for modality, discriminator in method.discriminators.items():
        # Delta is sigmoid(D) on the source and 1 - sigmoid(D) on the target: the most source-like of the source goes
        # and the most target-like of the target
        assert removed[f"{modality}_source"].tolist() == [int(discriminator(source[modality]).argmin())]
        assert removed[f"{modality}_target"].tolist() == [int(discriminator(target[modality]).argmax())]


def test_oracle_takes_planted_outliers_first() -> None:
    source, target = features(20, 1, DIMS), features(10, 2, DIMS)
    ids = {"source_ids": [f"s{i}" for i in range(20)], "target_ids": [f"t{i}" for i in range(10)]}
    planted = {"source": {1, 2, 3, 7, 11, 19}, "target": {0}}
    method = made(OracleAdaptation, [f"s{i}" for i in planted["source"]] + ["t0", "another"])
    for seed in range(10):
        removed = method.losses(batch_of(source, target, generator=generator(seed), **ids)).removed
        for modality in DIMS:
            assert 0 in removed[f"{modality}_target"].tolist()
            assert len(removed[f"{modality}_target"]) == 2
            gone = set(removed[f"{modality}_source"].tolist())
            assert len(gone) == 4
            # six planted in four sets of five: a set without one gives up any other
            assert len(gone & planted["source"]) >= 2


def test_oracle_without_ids_is_refused() -> None:
    with pytest.raises(AdaptationError, match="needs the 5 narration ids of the source, got 0"):
        made(OracleAdaptation, ["s0"]).losses(batch_of(features(5, 1, DIMS), features(5, 2, DIMS)))


def test_random_removal_takes_every_instance_as_often() -> None:
    method, batch = made(RandomRemovalAdaptation), (features(10, 1, DIMS), features(10, 2, DIMS))
    draw, counts = generator(0), torch.zeros(10)
    for _ in range(500):
        counts[method.losses(batch_of(*batch, generator=draw)).removed["rgb_source"]] += 1
    assert counts.sum() == 1000
    assert (counts - 100).abs().max() < 40  # four standard deviations


def test_alignment_is_of_the_kept_alone() -> None:
    source, target = features(10, 1, DIMS), features(10, 2, DIMS)
    method = made(MinDeltaAdaptation)
    adapted = method.losses(batch_of(source, target))
    expected = sum(
        domain_loss(
            discriminator,
            without(source[m], adapted.removed[f"{m}_source"]),
            without(target[m], adapted.removed[f"{m}_target"]),
            0.1,
        )
        for m, discriminator in method.discriminators.items()
    )
    torch.testing.assert_close(adapted.alignment, expected)
    adapted.alignment.backward()
    for m in DIMS:
        for domain, f in (("source", source), ("target", target)):
            still = f[m].grad.abs().sum(1) == 0
            assert still.nonzero().flatten().tolist() == adapted.removed[f"{m}_{domain}"].tolist()


def test_the_reversal_rises_as_the_control_s_does() -> None:
    source, target = features(10, 1, DIMS), features(10, 2, DIMS)
    method = made(MinDeltaAdaptation, lam_max=0.3)
    adapted = method.losses(batch_of(source, target, 0.1))
    adapted.alignment.backward()
    for m, discriminator in method.discriminators.items():
        gone = [adapted.removed[f"{m}_{domain}"] for domain in ("source", "target")]
        plain = [without(f[m].detach(), out).requires_grad_() for f, out in zip((source, target), gone, strict=True)]
        p_s, p_t = (torch.sigmoid(discriminator(f_BD)) for f_BD in plain)
        loss = (-(1 - p_s).log().sum() - p_t.log().sum()) / (len(p_s) + len(p_t))
        for f, out, by_hand in zip((source, target), gone, torch.autograd.grad(loss, plain), strict=True):
            torch.testing.assert_close(without(f[m].grad, out), -reversal_strength(0.1, 0.3) * by_hand)


def test_starts_as_adversarial_only_does() -> None:
    torch.manual_seed(3)
    control = Adversarial(DIMS, section(AdversarialAdaptation, discriminator_hidden=5))
    method = made(RandomRemovalAdaptation)
    for one, other in zip(control.parameters(), method.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_batch_smaller_than_a_set_is_refused() -> None:
    with pytest.raises(AdaptationError, match="candidate set of 5; got 4"):
        made(MinDeltaAdaptation).losses(batch_of(features(4, 1, DIMS), features(5, 2, DIMS)))
