"""Correspondence: who is paired with whom, the loss, and MM-SADA around it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from epicsub.adaptation import MMIR, MMSADA, Adversarial
from epicsub.adaptation.mm_sada import Correspondence, _partners, corresponding, same_class_rate
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import AdversarialAdaptation, MMIRAdaptation, MMSADAAdaptation
from tests.adaptation import batches
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 4, "flow": 3}


def features(B: int, seed: int) -> dict[str, Tensor]:
    return {m: f.detach().double().requires_grad_() for m, f in batches.features(B, seed, DIMS).items()}


@given(count=st.integers(3, 50))
def test_the_rolled_half_never_meets_its_own_pair(count: int) -> None:
    own, partner = corresponding(count), _partners(count)
    assert own.tolist() == [i < count // 2 for i in range(count)]
    assert sorted(partner.tolist()) == list(range(count))
    assert torch.equal(partner == torch.arange(count), own)
    assert set(partner[~own].tolist()) == set(range(count // 2, count))


def slow_loss(module: Correspondence, domains: list[dict[str, Tensor]]) -> float:
    terms = []
    net = module.classifier
    for f in domains:
        n = len(f["rgb"])
        for i in range(n):
            label, j = (1, i) if i < n // 2 else (0, i - 1 if i > n // 2 else n - 1)
            x = f["rgb"][i].tolist() + f["flow"][j].tolist()
            hidden = [
                max(0.0, sum(w * v for w, v in zip(row, x, strict=True)) + b)
                for row, b in zip(net.hidden.weight.tolist(), net.hidden.bias.tolist(), strict=True)
            ]
            z = sum(w * h for w, h in zip(net.out.weight[0].tolist(), hidden, strict=True)) + net.out.bias.item()
            p = 1 / (1 + math.exp(-z))
            terms.append(-math.log(p if label else 1 - p))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("Bs", "Bt"), [(6, 6), (5, 8)])
def test_the_loss_equals_one_pair_at_a_time(Bs: int, Bt: int) -> None:
    torch.manual_seed(0)
    module = Correspondence(DIMS, 5).double()
    source, target = features(Bs, 1), features(Bt, 2)
    loss, right = module(source, target)
    assert loss.item() == pytest.approx(slow_loss(module, [source, target]), abs=1e-6)
    assert 0 <= right.item() <= 100
    inputs = (source["rgb"], source["flow"], target["rgb"], target["flow"])

    def of(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        return module({"rgb": a, "flow": b}, {"rgb": c, "flow": d})[0]

    assert torch.autograd.gradcheck(of, inputs)


def test_shuffled_clips_keep_their_labels() -> None:
    """Shuffling both modalities by one permutation shuffles the pairs; the labels go with the places."""
    torch.manual_seed(0)
    module, f = Correspondence(DIMS, 5).double(), features(8, 1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    logits, labels = module._pairs({m: x[order] for m, x in f.items()})
    assert labels.tolist() == [1.0] * 4 + [0.0] * 4
    for place in range(8):
        clip, other = order[place], order[_partners(8)[place]]
        pair = torch.cat([f["rgb"][clip], f["flow"][other]])[None]
        torch.testing.assert_close(module.classifier(pair)[0], logits[place])
        assert (clip == other) == bool(labels[place])


def test_it_is_learnt_from_features_that_belong_together() -> None:
    torch.manual_seed(0)
    module = Correspondence({"rgb": 2, "flow": 2}, 100)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(300):
        shared = [torch.randn(32, 2) for _ in range(2)]
        loss, right = module(*({"rgb": x, "flow": x + 0.05 * torch.randn(32, 2)} for x in shared))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert right.item() > 80


def test_rate_of_rolled_pairs_of_one_class() -> None:
    # Places 0..2 keep their pairs; 3 is paired with 6, 4 with 3, 5 with 4, 6 with 5.
    assert same_class_rate(torch.tensor([9, 9, 9, 1, 1, 2, 1])).item() == pytest.approx(50.0)


def test_mm_sada_weighs_its_losses_by_the_stage_and_classifies_corresponding_clips() -> None:
    torch.manual_seed(0)
    one = MMSADA(DIMS, section(MMSADAAdaptation, discriminator_hidden=5, correspondence_hidden=5)).double()
    source, target = features(7, 1), features(6, 2)
    pairs, _ = one.correspondence(source, target)
    first = one.losses(batch_of(source, target, 0.3, stage=0))
    torch.testing.assert_close(first.alignment, 5.0 * pairs)
    assert first.classified_B.tolist() == [True] * 3 + [False] * 4
    control = Adversarial(DIMS, section(AdversarialAdaptation, discriminator_hidden=5)).double()
    control.discriminators = one.discriminators
    adversarial = control.losses(batch_of(source, target, 0.3)).alignment
    second = one.losses(batch_of(source, target, 0.3, stage=1))
    torch.testing.assert_close(second.alignment, pairs + adversarial)
    # The features help to recognise pairs, and hinder recognising domains: one gradient as it is, the other reversed.
    (whole,) = torch.autograd.grad(second.alignment, source["flow"], retain_graph=True)
    parts = [torch.autograd.grad(loss, source["flow"])[0] for loss in (pairs, adversarial)]
    torch.testing.assert_close(whole, parts[0] + parts[1])
    assert {"correspondence_accuracy", "rolled_pairs_of_one_verb", "rgb/discriminator_accuracy"} <= second.logs.keys()
    assert len(list(one.alignment_parameters())) == 12
    with pytest.raises(AdaptationError, match="no weights for stage 3"):
        one.losses(batch_of(source, target, stage=2))


@pytest.mark.parametrize("kind", [Adversarial, MMIR])
def test_it_is_an_option_of_the_adversarial_methods(kind: type) -> None:
    def made(**settings: float):
        torch.manual_seed(0)
        if kind is Adversarial:
            return Adversarial(DIMS, section(AdversarialAdaptation, **settings)).double()
        return MMIR(DIMS, section(MMIRAdaptation, **settings), q_hidden=(4,)).double()

    plain, more = made(), made(correspondence_weight=2.0)
    assert set(more.state_dict()) - set(plain.state_dict()) == {
        f"correspondence.classifier.{name}" for name in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    }
    assert all(torch.equal(value, more.state_dict()[name]) for name, value in plain.state_dict().items())
    source, target = features(10, 1), features(10, 2)
    one, two = (method.losses(batch_of(source, target)) for method in (plain, more))
    torch.testing.assert_close(two.alignment, one.alignment + 2.0 * more.correspondence(source, target)[0])
    assert two.classified_B is None
    assert len(list(more.alignment_parameters())) == len(list(plain.alignment_parameters())) + 4


def test_refusals() -> None:
    with pytest.raises(AdaptationError, match="two modalities"):
        MMSADA({"rgb": 4}, section(MMSADAAdaptation))
    with pytest.raises(AdaptationError, match="3 clips"):
        MMSADA(DIMS, section(MMSADAAdaptation)).losses(
            batch_of(batches.features(2, 1, DIMS), batches.features(5, 2, DIMS))
        )
