"""Inception I3D against the numbers of its published definition and a slow implementation written apart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from epicsub.errors import ModelError
from epicsub.models.i3d import I3D, Unit3D
from epicsub.models.pooling import same_padding
from tests.models.conftest import noise

# Name -> (channels, total stride in time, total stride in space), from the published table.
ENDPOINTS = {
    "Conv3d_1a_7x7": (64, 2, 2),
    "Conv3d_2b_1x1": (64, 2, 4),
    "Conv3d_2c_3x3": (192, 2, 4),
    "Mixed_3b": (256, 2, 8),
    "Mixed_3c": (480, 2, 8),
    "Mixed_4b": (512, 4, 16),
    "Mixed_4c": (512, 4, 16),
    "Mixed_4d": (512, 4, 16),
    "Mixed_4e": (528, 4, 16),
    "Mixed_4f": (832, 4, 16),
    "Mixed_5b": (832, 8, 32),
    "Mixed_5c": (1024, 8, 32),
}
UNITS = ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"] + [
    f"{name}.{branch}"
    for name in ENDPOINTS
    if name.startswith("Mixed")
    for branch in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
]


# --- shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("H", [224, 112])
@pytest.mark.parametrize("T", [9, 16, 64])
def test_endpoints_have_the_published_shapes(T: int, H: int) -> None:
    with torch.device("meta"):
        model, clip = I3D(3), torch.empty(2, 3, T, H, H)
    shapes = {name: tuple(x.shape) for name, x in model.endpoints(clip).items()}
    assert shapes == {
        name: (2, channels, math.ceil(T / t), math.ceil(H / s), math.ceil(H / s))
        for name, (channels, t, s) in ENDPOINTS.items()
    }
    assert model.features(clip).shape == (2, 1024)


def test_endpoints_at_16_frames_of_224_pixels_are_those_of_the_table() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(x.shape[1:]) for name, x in I3D(2).endpoints(torch.empty(1, 2, 16, 224, 224)).items()}
    assert shapes["Conv3d_2c_3x3"] == (192, 8, 56, 56)
    assert shapes["Mixed_3c"] == (480, 8, 28, 28)
    assert shapes["Mixed_4f"] == (832, 4, 14, 14)
    assert shapes["Mixed_5c"] == (1024, 2, 7, 7)


def test_a_long_clip_is_the_mean_over_time(small: I3D) -> None:
    clip = noise(1, 3, 64, 32)
    with torch.no_grad():
        last = small.endpoints(clip)["Mixed_5c"]
        assert last.shape[2] == 8
        steps = [last[:, :, t : t + 2].mean(dim=(2, 3, 4)) for t in range(7)]
        torch.testing.assert_close(small.features(clip), torch.stack(steps).mean(dim=0))


def test_too_few_frames_and_wrong_channels_are_refused() -> None:
    with torch.device("meta"):
        model = I3D(3)
        assert model.features(torch.empty(1, 3, 9, 32, 32)).shape == (1, 1024)
        with pytest.raises(ModelError, match="at least 9 frames, got 8"):
            model.features(torch.empty(1, 3, 8, 32, 32))
        with pytest.raises(ModelError, match=r"\(B, 3, T, H, W\), got \(1, 2, 9, 32, 32\)"):
            model.features(torch.empty(1, 2, 9, 32, 32))
        with pytest.raises(ModelError, match="without classes"):
            model(torch.empty(1, 3, 9, 32, 32))


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "num_classes", "parameters"),
    [(3, 400, 12_697_264), (2, 400, 12_675_312), (3, None, 12_287_264), (2, None, 12_265_312)],
)
def test_parameter_counts(channels: int, num_classes: int | None, parameters: int) -> None:
    with torch.device("meta"):
        model = I3D(channels, num_classes)
    assert sum(p.numel() for p in model.parameters()) == parameters
    running = [b for name, b in model.named_buffers() if "running" in name]
    assert sum(b.numel() for b in running) == 14_560


@pytest.mark.parametrize(("channels", "macs"), [(3, 27_787_978_752), (2, 25_585_051_648)])
def test_multiply_accumulates_at_16_frames_of_224_pixels(channels: int, macs: int) -> None:
    with torch.device("meta"):
        model, clip = I3D(channels, 400).eval(), torch.empty(1, channels, 16, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    assert counter.get_total_flops() == 2 * macs


def test_state_dict_has_the_ports_names_and_shapes() -> None:
    with torch.device("meta"):
        state = I3D(3, 400).state_dict()
    counters = {f"{unit}.bn.num_batches_tracked" for unit in UNITS}
    tensors = {f"{unit}.conv3d.weight" for unit in UNITS} | {"logits.conv3d.weight", "logits.conv3d.bias"}
    for part in ("weight", "bias", "running_mean", "running_var"):
        tensors |= {f"{unit}.bn.{part}" for unit in UNITS}
    assert (len(UNITS), len(tensors), len(counters)) == (57, 287, 57)
    assert set(state) == tensors | counters
    assert state["Conv3d_1a_7x7.conv3d.weight"].shape == (64, 3, 7, 7, 7)
    assert state["Conv3d_2c_3x3.conv3d.weight"].shape == (192, 64, 3, 3, 3)
    assert state["Mixed_4e.b1b.conv3d.weight"].shape == (288, 144, 3, 3, 3)
    assert state["Mixed_5c.b3b.conv3d.weight"].shape == (128, 832, 1, 1, 1)
    assert state["Mixed_5c.b0.bn.running_var"].shape == (384,)
    assert state["logits.conv3d.weight"].shape == (400, 1024, 1, 1, 1)
    for unit in UNITS:
        assert state[f"{unit}.bn.weight"].shape == state[f"{unit}.conv3d.weight"].shape[:1]


def test_state_dict_round_trip_is_strict(small: I3D) -> None:
    other = I3D(3, num_classes=10, width=0.25).eval()
    other.load_state_dict(small.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(other(noise(1, 3, 9, 32)), small(noise(1, 3, 9, 32)))


# --- padding ----------------------------------------------------------------------------------------------------------


@given(n=st.integers(5, 30), k=st.integers(1, 7), s=st.integers(1, 2))
def test_same_padding_equals_tensorflows_definition(n: int, k: int, s: int) -> None:
    outputs = -(-n // s)
    total = max((outputs - 1) * s + k - n, 0)
    assert same_padding(n, k, s) == (total // 2, total - total // 2)


def test_the_first_convolution_pads_two_before_and_three_after() -> None:
    torch.manual_seed(0)
    unit = Unit3D(3, 4, 7, stride=2, linear=True)
    clip = torch.randn(1, 3, 10, 16, 16)
    expected = F.conv3d(F.pad(clip, (2, 3) * 3), unit.conv3d.weight, unit.conv3d.bias, stride=2)
    symmetric = F.conv3d(clip, unit.conv3d.weight, unit.conv3d.bias, stride=2, padding=3)
    torch.testing.assert_close(unit(clip), expected)
    assert symmetric.shape == expected.shape
    assert not torch.allclose(symmetric, expected)
