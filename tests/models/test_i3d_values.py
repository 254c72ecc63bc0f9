"""Inception I3D: its logits against a slow implementation written apart, in other memory formats and precisions."""

import math
from collections.abc import Mapping
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from epicsub.models.i3d import I3D, POOL_BEFORE, InceptionModule, Unit3D
from epicsub.models.pooling import SameMaxPool3d, max_of_slices, same_paddings
from tests.models.conftest import noise


def pad(n: int, k: int, s: int) -> tuple[int, int]:
    total = max((-(-n // s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("n", [1, 2, 7, 9, 12])
@pytest.mark.parametrize("kernel_and_stride", [*POOL_BEFORE.values(), ((3, 3, 3), (1, 1, 1))])
def test_a_pool_of_a_relu_is_that_of_zeros_or_of_minus_infinity_around_it(kernel_and_stride: tuple, n: int) -> None:
    kernel, stride = kernel_and_stride
    x = torch.randn(1, 2, 5, n, n, generator=torch.Generator().manual_seed(0)).relu()
    pads = [side for size, k, s in zip((n, n, 5), kernel[::-1], stride[::-1], strict=True) for side in pad(size, k, s)]
    for value in (0.0, -math.inf):
        expected = F.max_pool3d(F.pad(x, pads, value=value), kernel, stride)
        assert torch.equal(SameMaxPool3d(kernel, stride)(x), expected)


@pytest.mark.parametrize("n", [7, 12])
@pytest.mark.parametrize("kernel_and_stride", [*POOL_BEFORE.values(), ((3, 3, 3), (1, 1, 1))])
def test_the_largest_of_slices_is_the_max_pool_and_so_is_its_gradient(kernel_and_stride: tuple, n: int) -> None:
    """What CUDA computes where its own max pool adds gradients in no fixed order."""
    kernel, stride = kernel_and_stride
    x = torch.randn(2, 2, 6, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one, other = (x.clone().requires_grad_() for _ in range(2))
    expected = SameMaxPool3d(kernel, stride)(one.relu())
    found = max_of_slices(other.relu(), kernel, stride, same_paddings(x, kernel, stride))
    assert torch.equal(found, expected)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(*(torch.autograd.grad(y, z, upstream)[0] for y, z in ((found, other), (expected, one))))


def slow_unit(state: Mapping[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.conv3d.weight"]
    k = weight.shape[-1]
    x = F.conv3d(F.pad(x, [side for n in reversed(x.shape[2:]) for side in pad(n, k, stride)]), weight, stride=stride)
    part = {p: state[f"{name}.bn.{p}"].view(-1, 1, 1, 1) for p in ("weight", "bias", "running_mean", "running_var")}
    x = (x - part["running_mean"]) / (part["running_var"] + 1e-3).sqrt() * part["weight"] + part["bias"]
    return x.clamp(min=0)


def slow_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    sides = zip(reversed(x.shape[2:]), reversed(kernel), reversed(stride), strict=True)
    return F.max_pool3d(F.pad(x, [side for n, k, s in sides for side in pad(n, k, s)]), kernel, stride)


def slow_mixed(state: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    first = slow_unit(state, f"{name}.b0", x)
    second = slow_unit(state, f"{name}.b1b", slow_unit(state, f"{name}.b1a", x))
    third = slow_unit(state, f"{name}.b2b", slow_unit(state, f"{name}.b2a", x))
    fourth = slow_unit(state, f"{name}.b3b", slow_pool(x, (3, 3, 3), (1, 1, 1)))
    return torch.cat([first, second, third, fourth], dim=1)


def slow_logits(state: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The published layer list, read from top to bottom, in float64."""
    x = slow_pool(slow_unit(state, "Conv3d_1a_7x7", x, stride=2), (1, 3, 3), (1, 2, 2))
    x = slow_unit(state, "Conv3d_2c_3x3", slow_unit(state, "Conv3d_2b_1x1", x))
    x = slow_pool(x, (1, 3, 3), (1, 2, 2))
    for name in ("Mixed_3b", "Mixed_3c"):
        x = slow_mixed(state, name, x)
    x = slow_pool(x, (3, 3, 3), (2, 2, 2))
    for name in ("Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e", "Mixed_4f"):
        x = slow_mixed(state, name, x)
    x = slow_pool(x, (2, 2, 2), (2, 2, 2))
    for name in ("Mixed_5b", "Mixed_5c"):
        x = slow_mixed(state, name, x)
    pairs = torch.stack([x[:, :, t : t + 2].mean(dim=(2, 3, 4)) for t in range(x.shape[2] - 1)])  # (T', B, D)
    weight, bias = state["logits.conv3d.weight"].flatten(1), state["logits.conv3d.bias"]
    return (pairs @ weight.T + bias).mean(dim=0)


@pytest.mark.parametrize(("T", "H"), [(9, 49), (16, 64), (24, 32)])
def test_logits_equal_a_slow_implementation(small: I3D, T: int, H: int) -> None:
    clip, model = noise(2, 3, T, H).double(), deepcopy(small).double()
    with torch.no_grad():
        logits, expected = model(clip), slow_logits(model.state_dict(), clip)
    assert expected.std() > 0.1  # the comparison is of values that vary
    assert (expected[0] - expected[1]).abs().max() > 0.01
    torch.testing.assert_close(logits, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("T", "H"), [(9, 49), (16, 32)])
def test_gradients_equal_those_of_the_slow_implementation(small: I3D, T: int, H: int) -> None:
    clip, model = noise(2, 3, T, H).double(), deepcopy(small).double()
    names, parameters = zip(*model.named_parameters(), strict=True)
    weigh = torch.linspace(-1, 1, 20).view(2, 10).double()
    gradients = torch.autograd.grad((model(clip) * weigh).sum(), parameters)
    expected = torch.autograd.grad((slow_logits(model.state_dict(keep_vars=True), clip) * weigh).sum(), parameters)
    for name, gradient, other in zip(names, gradients, expected, strict=True):
        assert other.abs().max() > 0, name
        torch.testing.assert_close(gradient, other, atol=1e-10, rtol=1e-8, msg=name)


def test_an_inflated_filter_equals_the_image_filter_on_a_static_clip() -> None:
    torch.manual_seed(0)
    unit = Unit3D(3, 8, 7, stride=2, linear=True)
    image_filter = torch.randn(8, 3, 7, 7)
    with torch.no_grad():
        unit.conv3d.weight.copy_(image_filter[:, :, None].expand(-1, -1, 7, -1, -1) / 7)
        picture = torch.randn(1, 3, 32, 32)
        clip = picture[:, :, None].expand(-1, -1, 16, -1, -1)
        expected = F.conv2d(F.pad(picture, (2, 3, 2, 3)), image_filter, unit.conv3d.bias, stride=2)
        steps = unit(clip)
    for t in range(1, 6):  # taps 2t-2 .. 2t+4 lie inside the 16 frames
        torch.testing.assert_close(steps[:, :, t], expected, atol=1e-4, rtol=0)
    assert not torch.allclose(steps[:, :, 0], expected, atol=1e-2)  # two of seven taps read padding


def test_branches_are_concatenated_in_order() -> None:
    module = InceptionModule(4, (1, 2, 3, 4, 5, 6))
    assert module.channels_out == 1 + 3 + 5 + 6
    with torch.no_grad():
        for value, branch in enumerate((module.b0, module.b1b, module.b2b, module.b3b), start=1):
            branch.bn.weight.zero_()
            branch.bn.bias.fill_(value)
    channels = module.eval()(torch.randn(1, 4, 3, 4, 4))[0, :, 0, 0, 0]
    assert channels.tolist() == [1.0] + [2.0] * 3 + [3.0] * 5 + [4.0] * 6


# --- memory format and precision --------------------------------------------------------------------------------------
# Measured on three models trained as below, in standard deviations of the logits: channels_last_3d 0, float32 against
# float64 3e-6, bfloat16 autocast 0.02 to 0.05 (probabilities 0.004). A network that has not learned is another matter:
# with random filters and calibrated batch norm bfloat16 drifts by 0.3, since nothing makes its logits robust.


@pytest.fixture(scope="module")
def trained() -> tuple[I3D, Tensor, Tensor]:
    """A narrow I3D that distinguishes ten clips, noisy copies of the clips, and its logits on them."""
    torch.manual_seed(0)
    model = I3D(3, num_classes=10, width=0.25, dropout=0.0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 0.2
    clips = F.interpolate(torch.rand(10, 3, 3, 4, 4) * 2 - 1, size=(9, 32, 32), mode="trilinear")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(clips), torch.arange(10)).backward()
        optimizer.step()
    clips = clips + 0.05 * torch.randn(clips.shape)
    with torch.no_grad():
        logits = model.eval()(clips)
    assert torch.equal(logits.argmax(dim=1), torch.arange(10))
    return model, clips, logits


def test_channels_last_gives_the_same_logits(trained: tuple[I3D, Tensor, Tensor]) -> None:
    model, clips, logits = trained
    strided = clips.contiguous(memory_format=torch.channels_last_3d)
    assert not strided.is_contiguous()
    with torch.no_grad():
        difference = (model(strided) - logits).abs().max()
    assert difference <= 1e-5 * logits.std()


def test_bfloat16_autocast_gives_nearly_the_same_logits(trained: tuple[I3D, Tensor, Tensor]) -> None:
    model, clips, logits = trained
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        halved = model(clips)
    assert halved.dtype == torch.bfloat16
    halved = halved.float()
    assert 0 < (halved - logits).abs().max() <= 0.1 * logits.std()
    assert (halved.softmax(dim=1) - logits.softmax(dim=1)).abs().max() <= 0.01
    assert torch.equal(halved.argmax(dim=1), logits.argmax(dim=1))
