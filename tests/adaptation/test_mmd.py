"""MMD against double loops and closed forms, its gradient, and its behaviour as a test statistic."""

import math

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from epicsub.adaptation import MMD
from epicsub.adaptation.mmd import MM_SADA_WIDTHS, _squared_distances, dan_widths, mm_sada_widths, mmd_squared
from epicsub.errors import AdaptationError
from epicsub.recipe.adaptation import MMDAdaptation
from tests.adaptation.batches import batch_of, features, section

DIMS = {"rgb": 6, "flow": 4}


def draw(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def slow_mmd(x: Tensor, y: Tensor, widths: list[float]) -> float:
    """A pair at a time."""

    def kernel(a: list[float], b: list[float]) -> float:
        distance = sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
        return sum(math.exp(-distance / width) for width in widths)

    xs, ys = x.tolist(), y.tolist()
    within = (
        sum(kernel(a, b) for a in xs for b in xs) / len(xs) ** 2
        + sum(kernel(a, b) for a in ys for b in ys) / len(ys) ** 2
    )
    return within - 2 * sum(kernel(a, b) for a in xs for b in ys) / (len(xs) * len(ys))


def test_widths_are_those_of_mm_sada() -> None:
    assert len(MM_SADA_WIDTHS) == 12
    assert MM_SADA_WIDTHS[0] == pytest.approx(9.7 / 256)
    assert MM_SADA_WIDTHS[-1] == pytest.approx(1825.826, abs=1e-3)
    assert MM_SADA_WIDTHS[1] / MM_SADA_WIDTHS[0] == pytest.approx(2 ** math.sqrt(2))


def test_widths_follow_the_length_of_the_features() -> None:
    """As squared distances do: features written four times over are as far apart as before, to MMD."""
    assert mm_sada_widths(1024) == pytest.approx(MM_SADA_WIDTHS)
    x, y = draw(6, 32, 1), draw(4, 32, 2, 0.5)
    once, longer = ({"rgb": f} for f in (x, x.repeat(1, 4)))
    others = ({"rgb": f} for f in (y, y.repeat(1, 4)))
    seen = [
        MMD({"rgb": s["rgb"].shape[1]}, section(MMDAdaptation)).losses(batch_of(s, t)).alignment.item()
        for s, t in zip((once, longer), others, strict=True)
    ]
    assert seen[0] == pytest.approx(seen[1], rel=1e-9)
    assert seen[0] == pytest.approx(slow_mmd(x, y, [w / 32 for w in MM_SADA_WIDTHS]), rel=1e-9)


def test_equal_sets_have_none() -> None:
    x = draw(7, 5, 0)
    assert mmd_squared(x, x[torch.randperm(7)], MM_SADA_WIDTHS).item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("distance", "width"), [(0.5, 1.0), (3.0, 2.0)])
def test_two_points_in_closed_form(distance: float, width: float) -> None:
    x, y = torch.zeros(1, 1).double(), torch.full((1, 1), distance).double()
    assert mmd_squared(x, y, [width]).item() == pytest.approx(2 - 2 * math.exp(-(distance**2) / width))


def test_it_equals_a_double_loop() -> None:
    x, y = draw(6, 3, 1), draw(4, 3, 2, 0.5)
    assert mmd_squared(x, y, MM_SADA_WIDTHS).item() == pytest.approx(slow_mmd(x, y, list(MM_SADA_WIDTHS)), abs=1e-6)
    widths = dan_widths(x, y)
    both = torch.cat([x, y]).tolist()
    mean = sum(math.dist(a, b) ** 2 for a in both for b in both) / (10 * 9)
    assert [float(width) for width in widths] == pytest.approx([2 * 2.0**u * mean for u in (-3, -2, -1, 0, 1)])
    assert mmd_squared(x, y, widths).item() == pytest.approx(slow_mmd(x, y, [float(w) for w in widths]), abs=1e-6)


def test_distances_never_fall_below_zero() -> None:
    x = 1e4 + torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
    assert (_squared_distances(x, x) >= 0).all()


def test_gradient() -> None:
    x, y = draw(4, 3, 1).requires_grad_(), draw(5, 3, 2, 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: mmd_squared(a, b, [1.0, 9.7]), (x, y))


def test_descent_brings_the_sets_together() -> None:
    x, y = draw(20, 3, 1), draw(20, 3, 2, 2.0).requires_grad_()
    start = mmd_squared(x, y, MM_SADA_WIDTHS).item()
    optimizer = torch.optim.SGD([y], lr=5.0)
    for _ in range(30):
        optimizer.zero_grad()
        mmd_squared(x, y, MM_SADA_WIDTHS).backward()
        optimizer.step()
    assert mmd_squared(x, y, MM_SADA_WIDTHS).item() < 0.5 * start


def p_value(x: Tensor, y: Tensor, generator: torch.Generator, permutations: int = 40) -> float:
    both = torch.cat([x, y])
    seen = mmd_squared(x, y, [9.7])
    larger = 0
    for _ in range(permutations):
        order = torch.randperm(len(both), generator=generator)
        larger += bool(mmd_squared(both[order[: len(x)]], both[order[len(x) :]], [9.7]) >= seen)
    return (larger + float(torch.rand(1, generator=generator))) / (permutations + 1)


def test_it_tells_shifted_sets_from_equal_ones() -> None:
    """Under the null hypothesis the permutation test's p is even; a shift of one deviation is always seen."""
    generator = torch.Generator().manual_seed(0)
    null = [p_value(draw(12, 2, 2 * s), draw(12, 2, 2 * s + 1), generator) for s in range(150)]
    assert kstest(null, "uniform").pvalue > 0.001
    shifted = [p_value(draw(12, 2, 2 * s), draw(12, 2, 2 * s + 1, 1.5), generator) for s in range(20)]
    assert max(shifted) < 0.2


@pytest.mark.parametrize("kernels", ["mm_sada", "dan"])
def test_the_method_sums_over_modalities(kernels: str) -> None:
    source, target = (
        {m: f.double().detach().requires_grad_() for m, f in features(5, s, DIMS).items()} for s in (1, 2)
    )
    losses = MMD(DIMS, section(MMDAdaptation, kernels=kernels)).losses(batch_of(source, target))
    expected = 0.0
    for m in DIMS:
        own = [width * DIMS[m] / 1024 for width in MM_SADA_WIDTHS]
        widths = own if kernels == "mm_sada" else dan_widths(source[m], target[m])
        one = slow_mmd(source[m].detach(), target[m].detach(), [float(w) for w in widths])
        assert losses.logs[f"{m}/mmd"] == pytest.approx(one, abs=1e-6)
        expected += one
    assert losses.alignment.item() == pytest.approx(expected, abs=1e-6)
    assert losses.classified_B is None
    losses.alignment.backward()
    assert all(f.grad.any() for f in (*source.values(), *target.values()))


def test_half_precision_is_computed_in_single() -> None:
    source, target = ({m: f.detach().half() for m, f in features(5, s, DIMS).items()} for s in (1, 2))
    assert MMD(DIMS, section(MMDAdaptation)).losses(batch_of(source, target)).alignment.dtype == torch.float32


def test_other_features_are_refused() -> None:
    with pytest.raises(AdaptationError, match="made for"):
        MMD({"rgb": 6}, section(MMDAdaptation)).losses(batch_of(features(4, 0, DIMS), features(4, 1, DIMS)))
