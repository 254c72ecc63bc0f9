"""AdaBN: the statistics of everything that came, whatever the batches; weights and modes untouched."""

import pytest
import torch
from torch import Tensor, nn

from epicsub.adaptation import AdaBN
from epicsub.adaptation.adabn import estimate_statistics
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import AdaBNAdaptation
from tests.adaptation.batches import batch_of, features, section

SIZES = (8, 8, 3, 1)


class Small(nn.Module):
    """Two batch norms with a dropout between."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.BatchNorm3d(2), nn.BatchNorm1d(3)
        self.middle, self.dropout = nn.Linear(2, 3), nn.Dropout(0.5)

    def forward(self, clips: dict[str, Tensor]) -> Tensor:
        x = torch.relu(self.first(clips["rgb"])).mean(dim=(2, 3, 4))
        return self.second(self.middle(self.dropout(x)))


def clips(seed: int, sizes: tuple[int, ...] = SIZES) -> list[dict[str, Tensor]]:
    """Batches whose values differ in mean and scale, so that a mean of batch means is not the mean."""
    generator = torch.Generator().manual_seed(seed)
    return [{"rgb": (1 + i) * torch.randn(B, 2, 2, 3, 3, generator=generator) + 10 * i} for i, B in enumerate(sizes)]


def test_statistics_are_the_populations_over_uneven_batches() -> None:
    model, batches = Small(), clips(1)
    estimate_statistics(model, batches[:3])
    x = torch.cat([batch["rgb"] for batch in batches[:3]]).double()
    mean, variance = x.mean(dim=(0, 2, 3, 4)), x.movedim(1, 0).flatten(1).var(dim=1)
    torch.testing.assert_close(model.first.running_mean.double(), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.first.running_var.double(), variance, rtol=1e-5, atol=1e-5)
    # The second layer saw what the first made of each batch, normalised by that batch, without dropout.
    seen = []
    for batch in batches[:3]:
        y = batch["rgb"].double()
        y = (y - y.mean(dim=(0, 2, 3, 4), keepdim=True)) / (
            y.var(dim=(0, 2, 3, 4), unbiased=False, keepdim=True) + 1e-5
        ).sqrt()
        y = torch.relu(y).mean(dim=(2, 3, 4))
        seen.append(y @ model.middle.weight.double().T + model.middle.bias.double())
    z = torch.cat(seen)
    torch.testing.assert_close(model.second.running_mean.double(), z.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.second.running_var.double(), z.var(dim=0), rtol=1e-5, atol=1e-5)


def test_a_large_mean_leaves_the_variance_its_digits() -> None:
    model = nn.BatchNorm1d(1)
    x = 1e4 + torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    estimate_statistics(model, [x[:1000], x[1000:]])
    assert model.running_var.item() == pytest.approx(x.double().var().item(), rel=1e-5)


def test_nothing_else_changes() -> None:
    model = Small().train()
    model.dropout.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    momentum = model.first.momentum
    AdaBN(model, section(AdaBNAdaptation)).after_training(model, clips(1, (4, 4)))
    assert (model.training, model.dropout.training, model.first.training) == (True, False, True)
    assert (model.first.momentum, len(model.first._forward_pre_hooks)) == (momentum, 0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.endswith(("running_mean", "running_var"))), name


def test_a_target_that_is_the_source_changes_nothing() -> None:
    model = Small()
    estimate_statistics(model, clips(2, (6, 6)))
    before = model.eval()(clips(3, (5,))[0])
    AdaBN(model, section(AdaBNAdaptation)).after_training(model, clips(2, (6, 6)))
    assert torch.equal(model.eval()(clips(3, (5,))[0]), before)


def test_training_time_variant_aligns_nothing_and_reads_nothing_afterwards() -> None:
    model = Small()
    method = AdaBN(model, section(AdaBNAdaptation, variant="training_time"))
    assert method.target_batch_after_training == 0
    assert AdaBN(model, section(AdaBNAdaptation)).target_batch_after_training == 128
    assert AdaBN(model, section(AdaBNAdaptation, batch_size=50)).target_batch_after_training == 50
    losses = method.losses(batch_of(features(4, 0, {"rgb": 3}), features(4, 1, {"rgb": 3})))
    assert losses.alignment.item() == 0.0
    assert not list(method.parameters())


def test_refusals() -> None:
    with pytest.raises(AdaptationError, match="the model has none"):
        AdaBN(nn.Linear(2, 2), section(AdaBNAdaptation))
    model = nn.BatchNorm1d(1)
    before = model.running_mean.clone()
    for too_few in ([], [torch.ones(1, 1, 1)]):
        with pytest.raises((AdaptationError, ValueError)):
            AdaBN(model, section(AdaBNAdaptation)).after_training(model, too_few)
    assert torch.equal(model.running_mean, before)
