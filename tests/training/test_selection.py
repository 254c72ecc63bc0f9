"""The best checkpoint by a score with noise: the paired error against a bootstrap, the margin, patience, final mean."""

import numpy as np
import pytest
import torch

from epicsub.training.selection import FinalMean, Selection, paired_error


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
    assert [selection.update(score, None, 0.0)["higher"] for score in (5.0, 5.0, 5.1, 3.0)] == [1, 0, 1, 0]
    assert (selection.best, selection.waited) == (5.1, 1)


def test_a_gain_within_the_noise_is_not_higher() -> None:
    start = [0, 1] * 50
    little = [1, 1, *start[2:]]  # 1 point more, error 1
    more = [1] * 20 + start[20:]  # 10 points more, error about 3
    for margin, expected in ((0.5, [1, 1, 1]), (2.0, [1, 0, 1]), (10.0, [1, 0, 0])):
        selection, seen = Selection(), []
        for values in (start, little, more):
            now = torch.tensor(values, dtype=torch.bool)
            figures = selection.update(100 * now.float().mean().item(), now, margin)
            seen.append(figures["higher"])
        assert seen == expected, margin
        assert figures["error"] == pytest.approx(3.015, abs=0.01) or margin == 0.5


def test_patience_counts_evaluations_since_the_best() -> None:
    selection = Selection()
    stops = []
    for score in (3.0, 2.0, 4.0, 4.0, 1.0):
        selection.update(score, hits(1, 0), 0.0)
        stops.append(selection.should_stop(2))
    assert stops == [False, False, False, False, True]
    assert not selection.should_stop(None)


def test_no_pair_has_no_error() -> None:
    assert paired_error(None, hits(1, 0)) == paired_error(hits(1), hits(0)) == 0.0


def scores(step: int) -> dict[str, float]:
    return {"all_verb_accuracy_at_1": float(step % 7), "all_noun_accuracy_at_1": 10.0}


def test_nine_evaluations_fifty_steps_apart_end_with_the_run() -> None:
    last = FinalMean(count=9, every=50)
    evaluated = [step for step in range(1, 8001) if last.includes(step, 8000)]
    assert evaluated == list(range(7600, 8001, 50))
    for step in range(1000, 8001, 50):  # others are made too, and do not count
        assert last.mean() == {}
        last.add(step, 8000, scores(step))
    assert sorted(last.scores) == evaluated
    expected = sum(step % 7 for step in evaluated) / 9
    assert last.mean() == pytest.approx({"all_verb_accuracy_at_1": expected, "all_noun_accuracy_at_1": 10.0})
    written = last.summary("validation/x.yaml")
    assert (written["protocol"], written["steps"], written["scores"]) == ("validation/x.yaml", evaluated, last.mean())


def test_a_resumed_run_goes_on_with_what_it_saw() -> None:
    last, again = FinalMean(count=3, every=2), FinalMean(count=3, every=2)
    for step in (6, 8):
        last.add(step, 10, scores(step))
    assert last.summary("p") == {}
    again.scores = dict(last.scores)
    for one in (last, again):
        one.add(10, 10, scores(10))
    assert last.mean() == again.mean() != {}


def test_no_mean_is_asked_for() -> None:
    last = FinalMean(count=None, every=50)
    assert not last.includes(8000, 8000)
    last.add(8000, 8000, scores(8000))
    assert last.mean() == {}
