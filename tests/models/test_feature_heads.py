"""Heads on features: shapes, the mean over time, the sum of modalities, what learns."""

import pytest
import torch
from torch.nn import functional as F

from epicsub.errors import ModelError
from epicsub.models.build import build_model
from epicsub.models.feature_heads import FeatureHeads

DIMS = {"rgb": 6, "audio": 4}


def clips(*shape: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(*shape, dim, generator=generator) for name, dim in DIMS.items()}


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_logits_are_the_sum_over_modalities_of_heads_on_the_mean_over_time(shape, batch_norm: bool) -> None:
    torch.manual_seed(0)
    model = FeatureHeads(DIMS, bottleneck=7, batch_norm=batch_norm).eval()
    batch = clips(*shape)
    output = model(batch)
    verb = torch.zeros(5, 97)
    for name in DIMS:
        layer = model.stream(name).bottleneck
        pooled = torch.zeros(5, 7)
        for b in range(5):
            rows = batch[name][b].reshape(-1, DIMS[name])
            for row in rows:
                y = layer.linear.weight @ row + (0 if batch_norm else layer.linear.bias)
                pooled[b] += F.relu(y / (1 + 1e-5) ** 0.5 if batch_norm else y) / len(rows)
        torch.testing.assert_close(output.features[name], pooled)
        verb += F.linear(pooled, model.stream(name).verb_head.weight, model.stream(name).verb_head.bias)
    torch.testing.assert_close(output.verb_logits_BV, verb)
    assert output.noun_logits_BN.shape == (5, 300)
    assert model.feature_dims == {"rgb": 7, "audio": 7}


def test_without_a_bottleneck_the_features_pass_as_they_are() -> None:
    model = FeatureHeads(DIMS)
    batch = clips(5)
    assert torch.equal(model(batch).features["rgb"], batch["rgb"])
    assert model.feature_dims == DIMS


def test_every_parameter_learns_and_evaluation_is_deterministic() -> None:
    model = build_model("feature_heads", ["audio", "rgb"], dims=DIMS, bottleneck=7, batch_norm=True, bn_momentum=0.3)
    assert list(model.feature_dims) == ["audio", "rgb"]
    assert model.stream("rgb").bottleneck.norm.momentum == 0.3
    output = model(clips(5, 2))
    (output.verb_logits_BV.square().sum() + output.noun_logits_BN.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())
    model.eval()
    assert torch.equal(model(clips(5)).verb_logits_BV, model(clips(5)).verb_logits_BV)


def test_features_that_do_not_fit_are_refused_all_at_once() -> None:
    with pytest.raises(ModelError, match="the model reads rgb, audio; the batch lacks audio"):
        FeatureHeads(DIMS)({"rgb": torch.zeros(2, 6)})
    with pytest.raises(ModelError, match=r"rgb features are \(2, 5\), expected \(B, 6\).*\naudio features are \(4,\)"):
        FeatureHeads(DIMS)({"rgb": torch.zeros(2, 5), "audio": torch.zeros(4)})
    with pytest.raises(ModelError, match="dims are given for"):
        build_model("feature_heads", ["rgb"], dims=DIMS)
