import pytest
import torch
from torch import Tensor

from epicsub.adaptation import MMIR, Adversarial
from epicsub.adaptation.discriminator import reversal_strength
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import AdversarialAdaptation, MMIRAdaptation
from tests.adaptation import batches
from tests.adaptation.batches import batch_of, section

DIMS = {"rgb": 6, "flow": 4}


def features(B: int, seed: int, shift: float = 0.0) -> dict[str, Tensor]:
    return batches.features(B, seed, DIMS, shift)


def test_alignment_is_the_sum_over_modalities_of_the_mean_cross_entropy() -> None:
    torch.manual_seed(0)
    method = Adversarial(DIMS, section(AdversarialAdaptation, discriminator_hidden=5))
    source, target = features(8, 1), features(6, 2, 1.0)
    losses = method.losses(batch_of(source, target, 0.1, 0, torch.Generator()))
    expected = 0.0
    for m in DIMS:
        p_s, p_t = (torch.sigmoid(method.discriminators[m](f[m])) for f in (source, target))
        expected += (-(1 - p_s).log().sum() - p_t.log().sum()) / 14
    torch.testing.assert_close(losses.alignment, expected)
    (grad,) = torch.autograd.grad(expected, source["flow"], retain_graph=True)
    losses.alignment.backward()
    torch.testing.assert_close(source["flow"].grad, -reversal_strength(0.1, 0.2) * grad)
    assert losses.agents is None
    assert losses.removed == {}
    assert list(method.agent_parameters()) == []
    assert len(list(method.alignment_parameters())) == len(list(method.parameters())) == 8


def test_it_is_mmir_without_agents() -> None:
    """The control differs from MMIR by the agents and by nothing else."""
    torch.manual_seed(3)
    control = Adversarial(DIMS, section(AdversarialAdaptation, discriminator_hidden=5))
    torch.manual_seed(3)
    mmir = MMIR(DIMS, section(MMIRAdaptation, discriminator_hidden=5), q_hidden=(8,))
    for name, value in control.state_dict().items():
        assert torch.equal(mmir.state_dict()[name], value)
    torch.manual_seed(3)
    idle = MMIR(DIMS, section(MMIRAdaptation, discriminator_hidden=5, agents=[]), q_hidden=(8,))
    one = control.losses(batch_of(features(10, 1), features(10, 2), 0.5, 0, torch.Generator().manual_seed(0)))
    two = idle.losses(batch_of(features(10, 1), features(10, 2), 0.5, 0, torch.Generator().manual_seed(0)))
    assert torch.equal(one.alignment, two.alignment)
    assert one.logs == two.logs
    assert two.agents is None
    assert two.removed == {}


def test_a_discriminator_learns_and_the_log_says_so() -> None:
    torch.manual_seed(0)
    method = Adversarial(DIMS, section(AdversarialAdaptation))
    optimizer = torch.optim.Adam(method.alignment_parameters(), lr=0.01)
    for step in range(60):
        losses = method.losses(
            batch_of(features(16, step), features(16, 100 + step, 2.0), 0.0, step, torch.Generator())
        )
        optimizer.zero_grad()
        losses.alignment.backward()
        optimizer.step()
        method.after_step(step)
    assert all(losses.logs[f"{m}/discriminator_accuracy"] > 90 for m in DIMS)


def test_features_that_do_not_fit_are_all_named() -> None:
    method = Adversarial(DIMS, section(AdversarialAdaptation))
    with pytest.raises(AdaptationError) as caught:
        method.losses(batch_of({"rgb": torch.zeros(4, 6)}, features(4, 0) | {"rgb": torch.zeros(4, 7)}))
    assert "source features are of ['rgb'], the method was made for ['flow', 'rgb']: give it these" in str(caught.value)
    assert "target rgb features are (4, 7), expected (B, 6)" in str(caught.value)
