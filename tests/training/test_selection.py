"""The best checkpoint by a score with noise: the paired error against a bootstrap, the margin, and patience."""

import numpy as np
import pytest
import torch

from epicsub.training.selection import Selection, paired_error


def hits(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_paired_error_is_the_bootstraps() -> None:
    random = np.random.default_rng(0)
    one = random.random(400) < 0.5
    other = np.where(random.random(400) < 0.9, one, ~one)  # nine of ten hits are the same
    draws = random.integers(400, size=(4000, 400))
    bootstrap = 100 * (one[draws].mean(1) - other[draws].mean(1)).std()
    error = paired_error(torch.from_numpy(one), torch.from_numpy(other))
    assert error == pytest.approx(bootstrap, rel=0.05)
    binomial = 100 * np.sqrt(2 * 0.25 / 400)  # of two scores on segments of their own
    assert error < 0.5 * binomial


def test_without_margin_any_higher_score_is_the_best() -> None:
    selection = Selection()
    assert [selection.judge(score, None, 0.0)["higher"] for score in (5.0, 5.0, 5.1, 3.0)] == [1, 0, 1, 0]
    assert (selection.best, selection.waited) == (5.1, 1)


def test_a_gain_within_the_noise_is_not_higher() -> None:
    start = [0, 1] * 50
    little = [1, 1, *start[2:]]  # 1 point more, error 1
    more = [1] * 20 + start[20:]  # 10 points more, error about 3
    for margin, expected in ((0.5, [1, 1, 1]), (2.0, [1, 0, 1]), (10.0, [1, 0, 0])):
        selection, seen = Selection(), []
        for values in (start, little, more):
            now = torch.tensor(values, dtype=torch.bool)
            figures = selection.judge(100 * now.float().mean().item(), now, margin)
            seen.append(figures["higher"])
        assert seen == expected, margin
        assert figures["error"] == pytest.approx(3.015, abs=0.01) or margin == 0.5


def test_patience_counts_evaluations_since_the_best() -> None:
    selection = Selection()
    tired = []
    for score in (3.0, 2.0, 4.0, 4.0, 1.0):
        selection.judge(score, hits(1, 0), 0.0)
        tired.append(selection.tired(2))
    assert tired == [False, False, False, False, True]
    assert not selection.tired(None)


def test_no_pair_has_no_error() -> None:
    assert paired_error(None, hits(1, 0)) == paired_error(hits(1), hits(0)) == 0.0
