"""The mean of a run's last evaluations."""

import pytest

from epicsub.training.final_mean import FinalMean


def scores(step: int) -> dict[str, float]:
    return {"all_verb_accuracy_at_1": float(step % 7), "all_noun_accuracy_at_1": 10.0}


def test_nine_evaluations_fifty_steps_apart_end_with_the_run() -> None:
    last = FinalMean(count=9, every=50)
    due = [step for step in range(1, 8001) if last.due(step, 8000)]
    assert due == list(range(7600, 8001, 50))
    for step in range(1000, 8001, 50):  # others are made too, and do not count
        assert last.mean() == {}
        last.add(step, 8000, scores(step))
    assert sorted(last.seen) == due
    expected = sum(step % 7 for step in due) / 9
    assert last.mean() == pytest.approx({"all_verb_accuracy_at_1": expected, "all_noun_accuracy_at_1": 10.0})
    told = last.told("validation/x.yaml")
    assert (told["protocol"], told["steps"], told["scores"]) == ("validation/x.yaml", due, last.mean())


def test_a_resumed_run_goes_on_with_what_it_saw() -> None:
    last, again = FinalMean(count=3, every=2), FinalMean(count=3, every=2)
    for step in (6, 8):
        last.add(step, 10, scores(step))
    assert last.told("p") == {}
    again.seen = dict(last.seen)
    for one in (last, again):
        one.add(10, 10, scores(10))
    assert last.mean() == again.mean() != {}


def test_no_mean_is_asked_for() -> None:
    last = FinalMean(count=None, every=50)
    assert not last.due(8000, 8000)
    last.add(8000, 8000, scores(8000))
    assert last.mean() == {}
