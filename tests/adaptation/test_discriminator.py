import math

import pytest
import torch
from torch import Tensor, nn

from epicsub.adaptation.discriminator import (
    DomainDiscriminator,
    domain_accuracy,
    domain_loss,
    reversal_strength,
    reverse_gradient,
    target_probabilities,
)


def slow_loss(logits_source: Tensor, logits_target: Tensor) -> float:
    """Eq 8 an instance at a time: source 0, target 1."""
    terms = [-math.log(1 - 1 / (1 + math.exp(-z))) for z in logits_source.tolist()]
    terms += [-math.log(1 / (1 + math.exp(-z))) for z in logits_target.tolist()]
    return sum(terms) / len(terms)


class First(nn.Module):
    """The first feature as the logit."""

    def forward(self, x_BD: Tensor) -> Tensor:
        return x_BD[:, 0]


def test_layers_and_initialisation() -> None:
    torch.manual_seed(0)
    model = DomainDiscriminator(1024, 128)
    assert sum(p.numel() for p in model.parameters()) == 1024 * 128 + 128 + 128 + 1
    assert model.hidden.weight.std().item() == pytest.approx(0.088, abs=0.001)  # 0.1 cut at two deviations
    assert model.hidden.weight.abs().max() <= 0.2
    x = torch.randn(5, 1024)
    z = x @ model.hidden.weight.T + model.hidden.bias
    z = torch.where(z > 0, z, 0.2 * z)
    torch.testing.assert_close(model(x), (z @ model.out.weight.T).squeeze(1) + model.out.bias)


def test_loss_is_ln_2_at_logit_zero() -> None:
    assert domain_loss(First(), torch.zeros(4, 2), torch.zeros(7, 2), 1.0).item() == pytest.approx(math.log(2))


def test_loss_equals_the_sum_over_instances() -> None:
    source, target = torch.randn(5, 3), torch.randn(3, 3)
    expected = slow_loss(source[:, 0], target[:, 0])
    assert domain_loss(First(), source, target, 0.3).item() == pytest.approx(expected, rel=1e-5)


def test_loss_in_double_precision_equals_loops_and_passes_gradcheck() -> None:
    """With a reversal of -1 the gradient is the loss's own."""
    torch.manual_seed(0)
    model = DomainDiscriminator(3, 4).double()
    source, target = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (5, 4))
    assert domain_loss(model, source, target, 0.3).item() == pytest.approx(
        slow_loss(model(source), model(target)), abs=1e-6
    )
    assert torch.autograd.gradcheck(lambda s, t: domain_loss(model, s, t, -1.0), (source, target))


def test_a_slope_of_zero_is_a_relu() -> None:
    torch.manual_seed(0)
    model, x = DomainDiscriminator(3, 4, slope=0.0), torch.randn(5, 3)
    torch.testing.assert_close(model(x), model.out(torch.relu(model.hidden(x))).squeeze(1))


def test_features_are_pushed_together_and_the_discriminator_apart() -> None:
    torch.manual_seed(0)
    model = DomainDiscriminator(3, 8)
    source, target = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    domain_loss(model, source, target, 0.5).backward()
    reversed_gradient, own = source.grad.clone(), model.out.weight.grad.clone()
    plain, twin = source.detach().requires_grad_(), model
    twin.zero_grad()
    logits = torch.cat([twin(plain), twin(target)])
    nn.functional.binary_cross_entropy_with_logits(logits, torch.cat([torch.zeros(6), torch.ones(6)])).backward()
    torch.testing.assert_close(reversed_gradient, -0.5 * plain.grad)
    torch.testing.assert_close(own, twin.out.weight.grad)


def test_probabilities_carry_no_graph() -> None:
    features = torch.tensor([[0.0], [2.0]], requires_grad=True)
    p = target_probabilities(First(), features)
    assert not p.requires_grad
    assert not target_probabilities(DomainDiscriminator(1, 3), features).requires_grad
    torch.testing.assert_close(p, torch.tensor([0.5, 1 / (1 + math.exp(-2))]))


def test_accuracy_in_percent() -> None:
    accuracy = domain_accuracy(torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.6, 0.5]))
    assert accuracy.item() == pytest.approx(60.0)


# --- gradient reversal ------------------------------------------------------------------------------------------------


def function(x: Tensor) -> Tensor:
    return (x.sin() * x.square()).sum()


def test_values_pass_unchanged() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(reverse_gradient(x, 0.7), x)


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_gradient_is_minus_lam_times_finite_differences(lam: float) -> None:
    x = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    function(reverse_gradient(x, lam)).backward()
    h, values = 1e-5, x.detach()
    for i in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[i] = h
        slope = (function(values + shift) - function(values - shift)) / (2 * h)
        assert x.grad[i].item() == pytest.approx(-lam * slope.item(), abs=1e-8)


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0.0), (0.1, 0.46212), (0.5, 0.98661), (1.0, 0.99991)])
def test_strength_rises_as_published(progress: float, share: float) -> None:
    assert reversal_strength(progress, 1.0) == pytest.approx(share, abs=1e-5)
    assert reversal_strength(progress, 0.2) == pytest.approx(0.2 * share, abs=1e-5)
    assert reversal_strength(progress, 1.0) == pytest.approx(math.tanh(5 * progress))
