"""How arms are compared: what the intervals cover, and that arms of a seed see the same data in the same order."""

from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))


@pytest.mark.parametrize("seeds", [5, 20])
def test_intervals_cover_the_truth_as_often_as_they_say(seeds: int) -> None:
    """Four thousand studies whose true difference is 0.7: 95 % of the intervals hold it, give or take 2."""
    from pairs import paired

    draws = np.random.default_rng(0).normal(0.0, 1.2, (4000, seeds)) + 0.7
    found = (paired([(value, 0.0) for value in study]) for study in draws.tolist())
    covered = np.mean([abs(mean - 0.7) <= half for mean, half in found])
    assert 0.93 <= covered <= 0.97


def test_the_simulation_pairs_by_seed_and_counts_what_diverged() -> None:
    from simulation.statistics import paired

    def run(accuracy: float | None) -> dict:
        return {"accuracy": accuracy}

    difference = paired({0: run(3.0), 1: run(None), 2: run(7.0), 4: run(1.0)}, {0: run(1.0), 1: run(2.0), 2: run(3.0)})
    assert (difference.mean, difference.seeds, difference.diverged) == (3.0, 2, 1)
    assert difference.high - 3.0 == pytest.approx(12.706, abs=1e-3)  # t of one degree of freedom, error 1


def test_arms_of_a_seed_see_the_same_instances_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What every network is given, step by step."""
    from simulation import training
    from simulation.arms import ARMS
    from simulation.generator import Setting, simulate

    monkeypatch.setattr(training, "STEPS", (2, 3))
    monkeypatch.setattr(training, "CHECKS", 1)
    data = simulate(0, Setting())
    seen: dict[str, list[torch.Tensor]] = {}
    take = training._take
    for name in ("adversarial", "mmir", "oracle", "mm_sada", "mcd"):
        given = seen.setdefault(name, [])

        def record(part, arm, rows, given=given):
            batch = take(part, arm, rows)
            if part is not data.test:
                given.append(batch["rgb"])
            return batch

        monkeypatch.setattr(training, "_take", record)
        training.train(data, ARMS[name], 0.2, 0)
    for batches in seen.values():
        assert len(batches) == 2 + 2 * 3
        assert all(torch.equal(one, other) for one, other in zip(batches, seen["adversarial"], strict=True))
