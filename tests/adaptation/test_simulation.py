"""The feature simulation of the benchmarks: what it draws, and that the real agent learns where it can."""

import pytest
import torch

from benchmarks.simulation.generator import CLASSES, SOURCE_COUNTS, TARGET_COUNTS, Setting, simulate
from benchmarks.simulation.stationary import greedy_precision


def test_agent_learns_the_stationary_planted_task() -> None:
    assert greedy_precision(seed=0, steps=1000, shown=1000) > 0.95


def test_a_seed_draws_the_same_again_and_another_does_not() -> None:
    one, again, other = (simulate(seed, Setting()) for seed in (1, 1, 2))
    for part in ("source", "target", "test"):
        a, b, c = (getattr(simulation, part) for simulation in (one, again, other))
        assert all(torch.equal(a.features[m], b.features[m]) for m in a.features)
        assert torch.equal(a.labels, b.labels)
        assert not torch.equal(a.features["rgb"], c.features["rgb"])


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.4])
def test_planted_shares_and_labels(rho: float) -> None:
    drawn = simulate(0, Setting(rho=rho))
    assert (len(drawn.source), len(drawn.target)) == (sum(SOURCE_COUNTS), sum(TARGET_COUNTS))
    assert int(drawn.source.planted.sum()) == round(rho * len(drawn.source))
    assert int(drawn.target.planted.sum()) == round(rho * len(drawn.target))
    assert not drawn.test.planted.any()
    assert torch.equal(drawn.target.labels == -1, drawn.target.planted)
    for labels in (drawn.source.labels, drawn.test.labels):
        assert int(labels.min()) == 0
        assert int(labels.max()) == CLASSES - 1


def test_a_larger_share_plants_more_of_the_same() -> None:
    """Only the planted instances change with the share, so that the dose curve is paired by instance too."""
    few, many = (simulate(0, Setting(rho=rho)) for rho in (0.1, 0.3))
    assert bool((many.source.planted | ~few.source.planted).all())
    alike = few.source.planted == many.source.planted
    for m in few.source.features:
        assert torch.equal(few.source.features[m][alike], many.source.features[m][alike])
        assert torch.equal(few.test.features[m], many.test.features[m])


def test_planted_instances_stand_off_by_the_view() -> None:
    near, far = (simulate(0, Setting(view=view)) for view in (0.0, 4.0))
    for part in ("source", "target"):
        a, b = getattr(near, part), getattr(far, part)
        for m in a.features:
            moved = (b.features[m] - a.features[m]).norm(dim=1)
            assert bool((moved[~a.planted] == 0).all())
            assert float(moved[a.planted].min()) > 5.0  # about 4 sqrt(24), times the kitchen's gains
            assert float(moved[a.planted].std()) < 1e-3  # one offset a domain and modality
