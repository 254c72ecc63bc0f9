"""Heads: a class mask learns as a head with the kept classes alone would; joint actions are folded in evaluation."""

import copy

import pytest
import torch
from torch.nn import functional as F

from epicsub.models.feature_heads import FeatureHeads
from epicsub.models.heads import PAIRS_NAME, Actions, Classes
from epicsub.models.two_classifiers import TwoClassifiers

VERBS = (0, 1, 3, 4, 2, 7, 10, 9)  # MM-SADA's eight
DIMS = {"rgb": 6, "flow": 5}
PAIRS = torch.tensor([[0, 1], [0, 2], [2, 1]])


def model(**classes) -> FeatureHeads:
    torch.manual_seed(0)
    return FeatureHeads(DIMS, dropout=0.0, classes=Classes(**classes))


def small(pairs: torch.Tensor = PAIRS) -> FeatureHeads:
    """3 verbs, 4 nouns, 3 actions."""
    return model(num_verbs=3, num_nouns=4, actions=Actions(pairs, fold=0.25, dropout=0.0))


@pytest.fixture
def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"rgb": torch.randn(5, 6), "flow": torch.randn(5, 5)}


# --- class mask -------------------------------------------------------------------------------------------------------


def test_the_loss_over_97_is_that_of_eight(features) -> None:
    """Reference: cut the eight columns out of every head, and number the labels 0 to 7."""
    label_B = torch.tensor([10, 0, 4, 9, 9])
    masked, whole = model(verbs=VERBS), model()
    F.cross_entropy(masked.classify(features)[0], label_B).backward()
    F.cross_entropy(whole.classify(features)[0][:, list(VERBS)], torch.tensor([6, 0, 3, 7, 7])).backward()
    for name in DIMS:
        one, other = (net.stream(name).verb_head.weight.grad for net in (masked, whole))
        assert torch.allclose(one, other, atol=1e-7)
        assert one[list(VERBS)].abs().sum() > 0
        absent = [verb for verb in range(97) if verb not in VERBS]
        assert torch.equal(one[absent], torch.zeros(89, one.shape[1]))


def test_nouns_are_equally_likely_and_not_trained(features) -> None:
    masked = model(nouns=False)
    verb_BV, noun_BN = masked.classify(features)
    assert torch.equal(noun_BN, torch.zeros(5, 300))
    assert not noun_BN.requires_grad
    assert torch.equal(verb_BV, model().classify(features)[0])
    assert {name for name, p in masked.named_parameters() if not p.requires_grad} == {
        f"streams.{stream}.noun_head.{part}" for stream in DIMS for part in ("weight", "bias")
    }


def test_a_mask_changes_no_name_and_no_initial_value() -> None:
    one, other = model(verbs=VERBS, nouns=False).state_dict(), model().state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("training", [True, False])
def test_a_second_classifier_is_masked_too(features, training) -> None:
    classes = Classes(verbs=VERBS, nouns=False)
    net = TwoClassifiers(model(verbs=VERBS, nouns=False), 0.0, classes).train(training)
    output = net(features)
    for one in [output, output.second] if training else [output]:
        probability_BV = one.verb_logits_BV.softmax(dim=1)
        assert torch.allclose(probability_BV[:, list(VERBS)].sum(dim=1), torch.ones(5))
        assert torch.equal(one.noun_logits_BN.softmax(dim=1), torch.full((5, 300), 1 / 300))
    if not training:  # the mean of two softmaxes over the eight, not over the 97
        output = net.train()(features)
        mean = (output.verb_logits_BV.softmax(dim=1) + output.second.verb_logits_BV.softmax(dim=1)) / 2
        assert torch.allclose(net.eval()(features).verb_logits_BV.softmax(dim=1), mean, atol=1e-7)


# --- joint actions ----------------------------------------------------------------------------------------------------


def test_training_gives_three_scores_and_evaluation_folds_them(features) -> None:
    net = small()
    out = net.train()(features)
    assert out.action_logits_BA.shape == (5, 3)
    folded = net.eval()(features)
    assert folded.action_logits_BA is None
    q = out.action_logits_BA.softmax(1)
    for row in range(5):
        for name, classes, column in (("verb_logits_BV", 3, 0), ("noun_logits_BN", 4, 1)):
            p = getattr(out, name)[row].softmax(0)
            for k in range(classes):
                marginal = sum(q[row, a] for a in range(3) if PAIRS[a, column] == k)
                expected = 0.75 * p[k] + 0.25 * marginal
                torch.testing.assert_close(getattr(folded, name)[row, k].exp(), expected)
    torch.testing.assert_close(folded.verb_logits_BV.exp().sum(1), torch.ones(5))


def test_the_head_is_in_the_state_and_in_copies_and_gets_gradients(features) -> None:
    net = small()
    assert torch.equal(net.state_dict()[PAIRS_NAME], PAIRS)
    twin = copy.deepcopy(net)
    torch.nn.init.zeros_(twin.action_head.linear.weight)
    assert not torch.equal(twin.train()(features).action_logits_BA, net.train()(features).action_logits_BA)
    net(features).action_logits_BA.sum().backward()
    assert net.action_head.linear.weight.grad is not None


def test_two_classifiers_fold_the_mean_of_both(features) -> None:
    classes = Classes(3, 4, actions=Actions(PAIRS, fold=1.0, dropout=0.0))
    net = TwoClassifiers(model(num_verbs=3, num_nouns=4), 0.0, classes)
    out = net.train()(features)
    assert out.second is not None
    expected = torch.zeros(5, 3).index_add_(1, PAIRS[:, 0], out.action_logits_BA.softmax(1))
    torch.testing.assert_close(net.eval()(features).verb_logits_BV.exp(), expected, atol=1e-6, rtol=1e-5)


def test_actions_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        small(torch.tensor([[3, 0]]))
