"""Predictions in memory: what they accept, check and select."""

import numpy as np
import pytest

from epicsub.errors import PredictionsError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.text import name_some

IDS = ["P01_11_0", "P01_11_1", "P01_11_10", "P02_101_3"]


def logits(rows: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, (rows, 97)).astype(np.float32), rng.normal(0, 3, (rows, 300)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Row by row, the obvious way."""
    return np.stack([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in scores.astype(np.float64)])


def good() -> Predictions:
    return Predictions.from_scores(IDS, *logits())


def assert_equal(left: Predictions, right: Predictions, atol: float = 0.0) -> None:
    assert left.narration_ids.tolist() == right.narration_ids.tolist()
    np.testing.assert_allclose(left.verb_logprobs, right.verb_logprobs, rtol=0, atol=atol)
    np.testing.assert_allclose(left.noun_logprobs, right.noun_logprobs, rtol=0, atol=atol)


# Making them


def test_logits_become_log_probabilities():
    verb, noun = logits()
    made = Predictions.from_scores(IDS, verb, noun)
    assert made.verb_logprobs.dtype == made.noun_logprobs.dtype == np.float32
    np.testing.assert_allclose(made.verb_logprobs, np.log(softmax(verb)), atol=1e-6)
    np.testing.assert_allclose(made.noun_logprobs, np.log(softmax(noun)), atol=1e-6)
    assert len(made) == 4


def test_probabilities_are_recognised_and_floored():
    verb, noun = logits()
    probabilities = softmax(verb)
    probabilities[0] = 0
    probabilities[0, 5] = 1
    made = Predictions.from_scores(IDS, probabilities, softmax(noun))
    np.testing.assert_allclose(made.verb_logprobs[1:], np.log(softmax(verb))[1:], atol=1e-6)
    assert made.verb_logprobs[0, 5] == 0
    assert made.verb_logprobs[0, 4] == np.float32(np.log(PROBABILITY_FLOOR))


def test_half_precision_probabilities_are_probabilities_still():
    verb, noun = logits()
    made = Predictions.from_scores(IDS, softmax(verb).astype(np.float16), softmax(noun).astype(np.float16))
    np.testing.assert_allclose(np.exp(made.verb_logprobs), softmax(verb), atol=1e-3)


def test_log_probabilities_come_through():
    assert_equal(Predictions.from_scores(IDS, good().verb_logprobs, good().noun_logprobs), good(), atol=2e-6)


def test_extreme_logits_stay_finite_and_keep_their_order():
    verb, noun = logits()
    made = Predictions.from_scores(IDS, verb * 100, noun)
    assert np.array_equal(np.argsort(made.verb_logprobs), np.argsort(verb))


def test_a_mixture_is_refused():
    verb, noun = logits()
    verb[2] = softmax(verb)[2]
    with pytest.raises(PredictionsError, match=r"mixture .*: 1 of 4 verb rows, 0 of 4 noun rows are probabilities"):
        Predictions.from_scores(IDS, verb, noun)
    with pytest.raises(PredictionsError, match="4 of 4 verb rows, 0 of 4 noun rows"):
        Predictions.from_scores(IDS, softmax(verb), noun)


def test_wrong_class_counts_name_both_numbers_and_come_together():
    verb, noun = logits()
    with pytest.raises(PredictionsError) as caught:
        Predictions.from_scores(IDS, verb[:, :96], np.hstack([noun, noun[:, :52]]))
    assert str(caught.value).splitlines() == ["96 verb classes, 97 expected", "352 noun classes, 300 expected"]


def test_rows_that_are_not_finite_are_named():
    verb, noun = logits()
    verb[1, 3] = np.nan
    noun[3, 0] = -np.inf
    with pytest.raises(PredictionsError) as caught:
        Predictions.from_scores(IDS, verb, noun)
    assert "verb scores that are not finite, as they must be: P01_11_1\n" in str(caught.value)
    assert "noun scores that are not finite, as they must be: P02_101_3" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: (p.narration_ids[[0, 0, 1, 2]], p.verb_logprobs, p.noun_logprobs),
            "more than once, keep each once: P01_11_0",
        ),
        (lambda p: (p.narration_ids[:3], p.verb_logprobs, p.noun_logprobs), "4 rows of verb scores for 3"),
        (lambda p: (p.narration_ids, p.verb_logprobs[0], p.noun_logprobs), r"shape \(97,\)"),
        (lambda p: (p.narration_ids.astype(object), p.verb_logprobs, p.noun_logprobs), "array of text"),
        (lambda p: (p.narration_ids, p.verb_logprobs.astype(np.float64), p.noun_logprobs), "float64, float32 expected"),
        (lambda p: (p.narration_ids, p.verb_logprobs, p.noun_logprobs + np.float32(0.01)), "noun rows whose prob"),
        (lambda p: (p.narration_ids[:0], p.verb_logprobs[:0], p.noun_logprobs[:0]), "must name a segment at least"),
    ],
)
def test_the_class_checks_itself(change, message):
    with pytest.raises(PredictionsError, match=message):
        Predictions(*change(good()))


def test_select_joins_on_narration_id():
    chosen = good().select([IDS[3], IDS[0]])
    assert chosen.narration_ids.tolist() == [IDS[3], IDS[0]]
    np.testing.assert_array_equal(chosen.noun_logprobs, good().noun_logprobs[[3, 0]])


def test_select_names_what_is_missing():
    wanted = [IDS[1], *(f"P09_01_{n}" for n in range(12))]
    with pytest.raises(PredictionsError) as caught:
        good().select(wanted)
    assert str(caught.value) == (
        "no predictions for 12 of 13 segments: " + ", ".join(wanted[1:11]) + ", ... (12 in all); it has "
        f"{len(IDS) - 1} others: {', '.join(map(repr, [name for name in IDS if name != IDS[1]][:3]))}"
        + (f", ... ({len(IDS) - 1} in all)" if len(IDS) > 4 else "")
        + "; give those of the whole list"
    )


def test_name_some():
    assert name_some("abc") == "a, b, c"
    assert name_some("abc", limit=2) == "a, b, ... (3 in all)"


# Files
