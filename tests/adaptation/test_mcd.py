"""MCD: the discrepancy, who moves which way, and the original's three updates."""

import pytest
import torch
from torch import Tensor, nn

from epicsub.adaptation import MCD
from epicsub.adaptation.discriminator import reversal_strength
from epicsub.adaptation.mcd import both_tasks, discrepancy
from epicsub.errors import AdaptationError
from epicsub.models.heads import MASKED, Classes, TwoHeadOutput
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe.adaptation import MCDAdaptation
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 6, "flow": 4}
VERBS, NOUNS = 5, 3


class Stream(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(dim, dim)
        self.verb_head, self.noun_head = nn.Linear(dim, VERBS), nn.Linear(dim, NOUNS)


class Model(nn.Module):
    """A linear trunk per modality, heads as every model has them."""

    feature_dims = DIMS

    def __init__(self) -> None:
        super().__init__()
        self.streams = nn.ModuleDict({m: Stream(d) for m, d in DIMS.items()})

    def classify(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        verb = sum(s.verb_head(features[m]) for m, s in self.streams.items())
        return verb, sum(s.noun_head(features[m]) for m, s in self.streams.items())

    def forward(self, clips: dict[str, Tensor]) -> TwoHeadOutput:
        features = {m: torch.tanh(s.trunk(clips[m])) for m, s in self.streams.items()}
        return TwoHeadOutput(*self.classify(features), features)


def model(seed: int = 0) -> TwoClassifiers:
    torch.manual_seed(seed)
    return TwoClassifiers(Model(), 0.0, Classes(VERBS, NOUNS)).double()


def clips(seed: int, B: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, d, generator=generator, dtype=torch.float64) for m, d in DIMS.items()}


def batch(net: TwoClassifiers, progress: float = 0.5):
    source, target = net(clips(1)), net(clips(2))
    return batch_of(source.features, target.features, progress, source=source, target=target, model=net)


def slow_discrepancy(one: Tensor, other: Tensor) -> float:
    total = 0.0
    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        p, q = (torch.tensor(x, dtype=torch.float64).exp() for x in (a, b))
        p, q = p / p.sum(), q / q.sum()
        total += sum(abs(float(x) - float(y)) for x, y in zip(p, q, strict=True))
    return total / one.numel()


def test_discrepancy() -> None:
    one, other = (torch.randn(7, 5, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    assert discrepancy(one, one).item() == 0.0
    sure = torch.full((3, 5), -1e3)
    first, second = sure.clone(), sure.clone()
    first[:, 0], second[:, 1] = 1e3, 1e3
    assert discrepancy(first, second).item() == pytest.approx(2 / 5)
    assert discrepancy(one, other).item() == pytest.approx(slow_discrepancy(one, other), abs=1e-6)
    assert torch.autograd.gradcheck(discrepancy, (one.requires_grad_(), other.requires_grad_()))


@pytest.mark.parametrize("classes", [2, 8, 97, 300])
def test_scaled_it_does_not_depend_on_the_number_of_classes(classes: int) -> None:
    first, second = torch.full((2, 3, classes), -1e3).unbind()
    first[:, 0], second[:, 1] = 1e3, 1e3
    assert discrepancy(first, second, published=False).item() == pytest.approx(2 / 8)
    assert discrepancy(first, second).item() == pytest.approx(2 / classes)


def test_verbs_that_there_are_not_do_not_thin_it_out() -> None:
    """Five of 97 verbs, two streams summed: as a head of five says it; a mute noun head adds nothing."""
    one, other = (torch.randn(7, 5, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (0, 1))
    wide = [torch.full((7, 97), 2 * MASKED, dtype=torch.float64) for _ in range(2)]
    for table, logits in zip(wide, (one, other), strict=True):
        table[:, [3, 10, 50, 51, 96]] = logits
    assert discrepancy(*wide).item() == pytest.approx(slow_discrepancy(one, other), abs=1e-6)
    mute = torch.zeros(7, 300, dtype=torch.float64)
    outputs = [TwoHeadOutput(table, mute, {}) for table in wide]
    assert both_tasks(*outputs).item() == pytest.approx(slow_discrepancy(one, other), abs=1e-6)


@pytest.mark.parametrize("form", ["scaled", "published"])
def test_classifiers_raise_what_the_features_lower(form: str) -> None:
    """Through the reversal the loss is minus the discrepancy for the heads, lam times the discrepancy for the rest."""
    net = model()
    losses = MCD(DIMS, section(MCDAdaptation, lam_max=0.7, discrepancy=form)).losses(batch(net, 0.2))
    target = net(clips(2))
    seen = both_tasks(target, target.second, form == "published")
    factors = (1, 1) if form == "published" else (VERBS / 8, NOUNS / 8)
    expected = factors[0] * slow_discrepancy(target.verb_logits_BV, target.second.verb_logits_BV)
    expected += factors[1] * slow_discrepancy(target.noun_logits_BN, target.second.noun_logits_BN)
    assert losses.alignment.item() == pytest.approx(-expected, abs=1e-6)
    assert losses.logs["discrepancy"].item() == pytest.approx(expected, abs=1e-6)
    heads = {id(p) for p in TwoClassifiers.head_parameters(net)}
    parameters = list(net.parameters())
    plain = torch.autograd.grad(seen, parameters)
    ours = torch.autograd.grad(losses.alignment, parameters)
    lam = reversal_strength(0.2, 0.7)
    for parameter, one, two in zip(parameters, plain, ours, strict=True):
        torch.testing.assert_close(two, -one if id(parameter) in heads else lam * one)
    assert len(heads) == 16


def test_the_original_moves_classifiers_then_features() -> None:
    net = model()
    method = MCD(DIMS, section(MCDAdaptation, updates="three"))
    assert method.losses(batch(net)).alignment.item() == 0.0
    first, *later = method.later_updates(net)
    heads = {id(p) for p in TwoClassifiers.head_parameters(net)}
    assert {id(p) for p in first.parameters} == heads
    assert first.classifies
    assert len(later) == 4
    rest = {id(p) for p in net.parameters()} - heads
    for update in later:
        assert {id(p) for p in update.parameters} == rest
        assert not update.classifies
        assert update.loss(batch(net)).item() == pytest.approx(-first.loss(batch(net)).item())
        assert update.loss(batch(net)).item() > 0
    assert MCD(DIMS, section(MCDAdaptation)).later_updates(net) == ()


def test_a_model_with_one_classifier_is_refused() -> None:
    net = model()
    with pytest.raises(AdaptationError, match="two classifiers"):
        MCD(DIMS, section(MCDAdaptation)).losses(batch_of(net(clips(1)).features, net(clips(2)).features))
    with pytest.raises(AdaptationError, match="training mode"):
        MCD(DIMS, section(MCDAdaptation)).losses(batch(net.eval()))
