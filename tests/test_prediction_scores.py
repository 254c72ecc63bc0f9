"""Scores of other kinds than log-probabilities: read as what they are, or refused."""

import json
import logging
import pickle

import numpy as np
import pytest

from epicsub.errors import PredictionsError
from epicsub.predictions import Predictions, read_predictions
from tests.test_prediction_files import as_dict, as_list
from tests.test_predictions import assert_equal, good


@pytest.mark.parametrize("times", [10, 30, 100, 0.5])
@pytest.mark.parametrize("suffix", [".pkl", ".npz", ".json"])
def test_probabilities_times_a_constant(tmp_path, caplog, times, suffix):
    path = tmp_path / f"x{suffix}"
    scores = {kind: times * np.exp(getattr(good(), f"{kind}_logprobs").astype(float)) for kind in ("verb", "noun")}
    ids = good().narration_ids
    if suffix == ".npz":
        np.savez(path, narration_id=ids, verb_output=scores["verb"], noun_output=scores["noun"])
    elif suffix == ".pkl":
        rows = {"narration_id": list(ids), "verb_output": scores["verb"], "noun_output": scores["noun"]}
        path.write_bytes(pickle.dumps(rows))
    else:
        rows = {
            name: {kind: {str(n): score for n, score in enumerate(scores[kind][row])} for kind in scores}
            for row, name in enumerate(ids.tolist())
        }
        path.write_text(json.dumps({"results": rows}))
    with caplog.at_level(logging.WARNING, "epicsub"):
        assert_equal(read_predictions(path), good(), atol=1e-5)
    assert f"{path}: rows sum to {times:g}: read as probabilities times that" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: -p, r"negative log-probabilities; multiply them by -1"),
        (lambda p: p / np.log(10), r"logarithms to base 10; multiply them by 2\.30259"),
        (lambda p: 1 / (1 + np.exp(-p * np.arange(1, 5)[:, None])), "all scores lie between 0 and 1, and rows sum to"),
    ],
    ids=["negative", "base_10", "sigmoid"],
)
def test_scores_that_would_be_misread_are_refused(tmp_path, change, message):
    rows = {**as_dict(good()), "verb_output": change(good().verb_logprobs.astype(float))}
    rows["noun_output"] = change(good().noun_logprobs.astype(float))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(PredictionsError, match=rf"x\.pkl: the scores are {message}|x\.pkl: {message}"):
        read_predictions(tmp_path / "x.pkl")


def test_logits_that_are_nowhere_negative_stay_logits():
    rng = np.random.default_rng(0)
    verb, noun = rng.gamma(1.0, 3.0, (40, 97)), rng.gamma(1.0, 3.0, (40, 300))
    made = Predictions.from_scores([f"P01_11_{n}" for n in range(40)], verb, noun)
    expected = verb - np.log(np.exp(verb).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(made.verb_logprobs, expected, atol=1e-5)


def test_ids_with_characters_that_do_not_show(tmp_path):
    rows = as_list(good())
    rows[1]["narration_id"] += "\u00a0"
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(rows))
    with pytest.raises(PredictionsError, match=r"characters that do not show: 'P01_11_\d+\\xa0': no-break space"):
        read_predictions(tmp_path / "x.pkl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"results": {"a": {}, "a": {}}}', "keys more than once: a"),
        ('{"results": ' + "[" * 100_000, "not JSON"),
        ('{"results": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_json_that_says_a_thing_twice_or_never_ends(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PredictionsError, match=message):
        read_predictions(tmp_path / "x.json")
