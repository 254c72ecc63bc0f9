"""TA3N: attention, attentive entropy, and the losses of three levels against loops."""

import math

import pytest
import torch
from torch import Tensor

from epicsub.adaptation import TA3N, AdaptationLosses
from epicsub.adaptation.ta3n import attentive_entropy, binary_entropy, entropy
from epicsub.errors import AdaptationError
from epicsub.models.heads import Classes
from epicsub.models.temporal_relations import TemporalRelations
from epicsub.recipe.adaptation import TA3NAdaptation
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 4, "flow": 3}


def model(**settings) -> TemporalRelations:
    torch.manual_seed(0)
    plain = {"segments": 4, "shared": 5, "hidden": 6, "dropout": 0.0, "classes": Classes(4, 3)}
    return TemporalRelations(DIMS, **(plain | settings)).double()


def clips(seed: int, B: int = 5) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.randn(B, 4, d, generator=generator, dtype=torch.float64) for m, d in DIMS.items()}


def slow_entropy(logits: list[float]) -> float:
    weights = [math.exp(x) for x in logits]
    return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)


def test_entropies() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert entropy(logits).tolist() == pytest.approx([slow_entropy(row) for row in logits.tolist()])
    assert binary_entropy(torch.zeros(1)).item() == pytest.approx(math.log(2))
    assert binary_entropy(torch.tensor([0.7])).item() == pytest.approx(slow_entropy([0.0, 0.7]))
    assert binary_entropy(torch.tensor([50.0])).item() == pytest.approx(0.0, abs=1e-6)
    domain = torch.rand(6, dtype=torch.float64)
    expected = sum((1 + d) * slow_entropy(row) for d, row in zip(domain.tolist(), logits.tolist(), strict=True)) / len(
        logits
    )
    assert attentive_entropy(logits, domain).item() == pytest.approx(expected, abs=1e-6)
    inputs = (logits.requires_grad_(), domain.requires_grad_())
    assert torch.autograd.gradcheck(attentive_entropy, inputs)


def slow_binary(logits_s: Tensor, logits_t: Tensor) -> float:
    terms = [-math.log(1 - 1 / (1 + math.exp(-z))) for z in logits_s.flatten().tolist()]
    terms += [-math.log(1 / (1 + math.exp(-z))) for z in logits_t.flatten().tolist()]
    return sum(terms) / len(terms)


def test_losses_of_three_levels() -> None:
    net = model()
    method = TA3N.for_model(net, section(TA3NAdaptation, entropy_weight=0.5)).double()
    source, target = net(clips(1)), net(clips(2))
    batch = batch_of(source.features, target.features, source=source, target=target, model=net)
    losses = method.losses(batch)
    expected, unsure = 0.0, []
    for m in DIMS:
        videos = [method.videos[m](out.features[m]) for out in (source, target)]
        frames = [method.frames[m](out.levels[m].frames_BTS.reshape(-1, 5)) for out in (source, target)]
        relations = [net.stream(m).domains(out.levels[m].relations_BRH) for out in (source, target)]
        assert relations[0].shape == (5, 3, 2)
        difference = [r[..., 1] - r[..., 0] for r in relations]
        expected += slow_binary(*videos) + slow_binary(*frames) + slow_binary(*difference)
        unsure.append([slow_entropy([0.0, z]) for z in torch.cat(videos).tolist()])
    weights = [1 + sum(column) / 2 for column in zip(*unsure, strict=True)]
    for name in ("verb_logits_BV", "noun_logits_BN"):
        rows = torch.cat([getattr(source, name), getattr(target, name)]).tolist()
        expected += 0.5 * 0.5 * sum(w * slow_entropy(row) for w, row in zip(weights, rows, strict=True)) / 10
    assert losses.alignment.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("warmup", "progress", "share"), [(True, 0.0, 0.0), (True, 0.1, 0.46212), (False, 0.0, 1.0)])
def test_the_reversals_rise_where_they_are_asked_to(warmup: bool, progress: float, share: float) -> None:
    net, gradients = model(), []
    for rising in (warmup, False):
        torch.manual_seed(1)
        method = TA3N.for_model(net, section(TA3NAdaptation, entropy_weight=0.0, warmup=rising)).double()
        source, target = net(clips(1)), net(clips(2))
        batch = batch_of(source.features, target.features, progress, source=source, target=target, model=net)
        weight = net.stream("rgb").frame.weight
        gradients.append(torch.autograd.grad(method.losses(batch).alignment, weight)[0])
    torch.testing.assert_close(gradients[0], share * gradients[1], rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize("level", ["relation", "video", "frame"])
def test_each_level_is_reversed_by_its_own_strength(level: str) -> None:
    """With the other levels silenced, the gradient to the network is minus the strength times that of the level's loss,
    by finite differences along it. Without attention, whose weights are constants for the gradient and none here."""
    net = model(attention=False)
    weight = net.stream("rgb").frame.weight
    for strength in (0.5, 1.0):
        silent = {"relation_reversal": 0.0, "video_reversal": 0.0, "frame_reversal": 0.0, "entropy_weight": 0.0}
        torch.manual_seed(1)
        settings = silent | {f"{level}_reversal": strength}
        method = TA3N.for_model(net, section(TA3NAdaptation, **settings, warmup=False)).double()

        def losses(method: TA3N = method) -> AdaptationLosses:
            source, target = net(clips(1)), net(clips(2))
            return method.losses(batch_of(source.features, target.features, source=source, target=target, model=net))

        (gradient,) = torch.autograd.grad(losses().alignment, weight)
        assert gradient.any()
        here, along = [], gradient / gradient.norm()
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                weight += step * along
            here.append(sum(float(losses().logs[f"{m}/loss_{level}"]) for m in net.feature_dims))
            with torch.no_grad():
                weight -= step * along
        slope = (here[0] - here[1]) / 2e-4
        assert slope == pytest.approx(-float(gradient.norm()) / strength, rel=1e-4)


def test_another_model_is_refused() -> None:
    net = model()
    output = net(clips(1))
    with pytest.raises(AdaptationError, match="temporal_relations"):
        TA3N.for_model(net, section(TA3NAdaptation)).losses(batch_of(output.features, output.features))
