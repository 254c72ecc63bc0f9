import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.validation.calibration import BINS, confidences, reliability


def slow_error(confidence, hits):
    """Guo et al.: bins (m/M, (m+1)/M], the gap of means weighed by their share."""
    error = 0.0
    for m in range(BINS):
        inside = [i for i, p in enumerate(confidence) if m / BINS < p <= (m + 1) / BINS or (m == 0 and p == 0)]
        if inside:
            gap = sum(hits[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(gap)
    return 100 * error


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_error_equals_the_slow_definition(rows):
    confidence, hits = (np.array(column) for column in zip(*rows, strict=True))
    # Products with BINS round; values that lie on a border are tried by hand below.
    near = np.abs(confidence * BINS - np.round(confidence * BINS)) < 1e-9
    confidence = np.where(near & (confidence > 0) & (confidence < 1), confidence * 0.99 + 0.003, confidence)
    assert reliability(confidence, hits).error == pytest.approx(slow_error(confidence, hits), abs=1e-9)


def test_by_hand():
    # Two bins: three segments at 0.9 of which one is right, one at 0.1 that is wrong.
    curve = reliability(np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, False, False, False]))
    assert curve.error == pytest.approx(100 * (0.75 * (0.9 - 1 / 3) + 0.25 * 0.1))
    assert curve.counts.sum() == 4
    assert np.isnan(curve.accuracy[5])


def test_the_ends_fall_in_the_first_and_last_bin():
    curve = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert (curve.counts[0], curve.counts[-1], curve.error) == (1, 1, 0.0)


def test_a_calibrated_model_has_next_to_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.05, 1, 40000)
    assert reliability(confidence, rng.uniform(size=40000) < confidence).error < 1.5
    assert reliability(confidence, np.zeros(40000, bool)).error == pytest.approx(100 * confidence.mean())


def test_confidence_of_a_pair_is_the_product(make_labels, make_predictions):
    made = make_predictions(make_labels())
    found = confidences(made.verb_logprobs, made.noun_logprobs)
    verb, noun = np.exp(made.verb_logprobs.max(axis=1)), np.exp(made.noun_logprobs.max(axis=1))
    np.testing.assert_allclose(found["action"], verb * noun, rtol=1e-5)


def test_confidence_over_a_part_of_the_verbs_sums_to_one_again(make_labels, make_predictions):
    made = make_predictions(make_labels())
    few = made.verb_logprobs[:, [0, 3]]
    expected = np.exp(few).max(axis=1) / np.exp(few).sum(axis=1)
    np.testing.assert_allclose(confidences(few, made.noun_logprobs)["verb"], expected, rtol=1e-5)
