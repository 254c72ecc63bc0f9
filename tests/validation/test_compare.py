from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.predictions import Predictions
from epicsub.validation import Reference, compare
from epicsub.validation.bootstrap import mcnemar


def coin(first, second):
    """Twice the share of the less likely tail of a fair coin, in whole numbers."""
    tail = sum(comb(first + second, heads) for heads in range(min(first, second) + 1))
    return float(min(1, Fraction(2 * tail, 2 ** (first + second))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial(first, second):
    assert mcnemar(first, second) == pytest.approx(coin(first, second), rel=1e-9)


def test_mcnemar_of_thousands():
    assert mcnemar(2400, 2600) == pytest.approx(coin(2400, 2600), rel=1e-9)
    assert 0 < mcnemar(0, 1000) < 1e-300


@pytest.fixture
def reference(make_labels):
    return Reference("small", make_labels(600, videos=30), [6, 7], [10, 11], ["P03"])


def by_name(differences):
    return {found.name: found for found in differences}


def test_the_same_model_twice_is_noise(reference, make_predictions):
    made = make_predictions(reference.labels)
    segments, found = compare(made, made, reference)
    assert segments == 600
    assert len(found) == 12
    for difference in found:
        assert (difference.change, difference.verdict, difference.p_bootstrap) == (0, "noise", 1.0)
    assert by_name(found)["all_verb_accuracy_at_1"].p_mcnemar == 1.0


def test_a_better_model_is_a_gain_and_the_other_way_a_loss(reference, make_predictions):
    weak, strong = (make_predictions(reference.labels, seed=1, rise=rise) for rise in (1.0, 3.0))
    there, back = by_name(compare(weak, strong, reference)[1]), by_name(compare(strong, weak, reference)[1])
    found = there["all_action_accuracy_at_1"]
    scores = [reference.evaluate(made).scores["all_action_accuracy_at_1"] for made in (weak, strong)]
    assert (found.first, found.second) == pytest.approx(scores)
    assert found.only_second - found.only_first == pytest.approx(found.change / 100 * 600)
    assert found.p_mcnemar < 0.001
    assert found.p_bootstrap < 0.01
    for name, difference in there.items():
        assert (difference.verdict, back[name].verdict) == ("gain", "loss")
        assert back[name].change == pytest.approx(-difference.change)


def test_the_difference_is_paired(reference, make_predictions):
    """A change of few segments is a clear gain beside the model's own interval, which is much wider."""
    made = make_predictions(reference.labels, rise=1.0)
    verb = made.verb_logprobs.copy()
    truth = reference.labels["verb_class"].to_numpy()
    wrong = np.flatnonzero(verb.argmax(axis=1) != truth)[::4]
    verb[wrong] = np.where(np.arange(97) == truth[wrong, None], -0.001, -11.5)
    better = Predictions.from_scores(made.narration_ids, verb, made.noun_logprobs)
    found = by_name(compare(made, better, reference)[1])["all_verb_accuracy_at_1"]
    assert (found.only_first, found.only_second) == (0, len(wrong))
    assert 0 < found.interval.low < found.change < found.interval.high
    assert found.interval.high - found.interval.low < 8


def test_only_common_segments_in_any_order(reference, make_predictions):
    made = make_predictions(reference.labels)
    ids = made.narration_ids
    segments, found = compare(made.select(ids[:400]), made.select(ids[:199:-1]), reference)
    assert segments == 200
    assert all(difference.change == 0 for difference in found)
    expected = reference.evaluate(made.select(ids[200:400])).scores["all_noun_accuracy_at_5"]
    assert by_name(found)["all_noun_accuracy_at_5"].first == pytest.approx(expected)


def test_nothing_in_common(reference, make_predictions):
    made = make_predictions(reference.labels)
    assert compare(made.select(made.narration_ids[:9]), made.select(made.narration_ids[9:20]), reference) == (0, [])


def test_one_video_gives_no_interval(make_labels, make_predictions):
    labels = make_labels(50, videos=1)
    reference = Reference("small", labels, [], [], [])
    _, found = compare(make_predictions(labels, 0), make_predictions(labels, 1), reference)
    assert {(d.interval, d.p_bootstrap, d.verdict) for d in found} == {(None, None, "unknown")}
    assert found[0].p_mcnemar is not None
