import numpy as np
import pytest

from epicsub.errors import SubmissionError, ValidationError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions, save_predictions
from epicsub.submission import average, fill_prior, load_members


def test_the_mean_of_probabilities_joined_on_ids(ids, make_predictions):
    first, second = make_predictions(seed=1), make_predictions(ids[::-1], seed=2)
    mean = average({"a": first, "b": second}, ids)
    assert mean.narration_ids.tolist() == ids
    for row, name in enumerate(ids):
        other = second.narration_ids.tolist().index(name)
        for kind in ("verb_logprobs", "noun_logprobs"):
            expected = (np.exp(getattr(first, kind)[row]) + np.exp(getattr(second, kind)[other])) / 2
            np.testing.assert_allclose(np.exp(getattr(mean, kind)[row]), expected, rtol=1e-5)


def test_by_hand():
    """Verb 0 has 0.8 and 0.4, verb 1 0.2 and 0.6: means 0.6 and 0.4, and 0.7 and 0.3 at weights 3 to 1."""
    noun = np.full((1, 300), 1 / 300)
    members = {}
    for name, share in (("a", 0.8), ("b", 0.4)):
        verb = np.zeros((1, 97))
        verb[0, :2] = share, 1 - share
        members[name] = Predictions.from_scores(["x"], verb, noun)
    np.testing.assert_allclose(np.exp(average(members).verb_logprobs[0, :2]), [0.6, 0.4], rtol=1e-6)
    weighted = average(members, weights={"a": 3, "b": 1})
    np.testing.assert_allclose(np.exp(weighted.verb_logprobs[0, :2]), [0.7, 0.3], rtol=1e-6)
    np.testing.assert_allclose(weighted.verb_logprobs[0, 2:], np.log(PROBABILITY_FLOOR), rtol=1e-6)


def test_one_member_alone_stays_as_it_is(ids, make_predictions):
    alone = average({"a": make_predictions()}, ids)
    np.testing.assert_array_equal(alone.verb_logprobs, make_predictions().verb_logprobs)
    np.testing.assert_array_equal(alone.noun_logprobs, make_predictions().noun_logprobs)


def test_nothing_comes_out_below_the_floor(ids, make_predictions):
    sharp = make_predictions(spread=100.0)
    assert sharp.verb_logprobs.min() < -100
    mean = average({"a": sharp}, ids)
    assert mean.verb_logprobs.min() == mean.noun_logprobs.min() == np.float32(np.log(PROBABILITY_FLOOR))


def test_every_member_that_lacks_segments_is_named_at_once(ids, make_predictions):
    members = {
        "run_a": make_predictions(ids[2:]),
        "run_b": make_predictions(ids),
        "run_c": make_predictions([*ids[:5], "P09_101_9"]),
    }
    with pytest.raises(SubmissionError) as caught:
        average(members, ids)
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "run_a has no predictions for 2 of 6 segments: P01_101_0, P01_101_1",
        "run_c has no predictions for 1 of 6 segments: P01_101_5",
    ]
    assert "--fill prior" in lines[2]


def test_without_a_list_every_segment_of_any_member_is_needed(ids, make_predictions):
    with pytest.raises(SubmissionError, match="b has no predictions for 1 of 6 segments: P01_101_0"):
        average({"a": make_predictions(), "b": make_predictions(ids[1:])})
    assert average({"a": make_predictions(), "b": make_predictions(ids[::-1])}).narration_ids.tolist() == ids


def test_weights_that_do_not_fit(ids, make_predictions):
    members = {"a": make_predictions(), "b": make_predictions()}
    with pytest.raises(SubmissionError) as caught:
        average(members, ids, {"a": -1.0, "c": float("nan")})
    assert str(caught.value).splitlines() == [
        "no weight for b",
        "a weight for c, which is no member",
        "weight of a is -1.0, a positive number expected",
        "weight of c is nan, a positive number expected",
        "members are a, b",
    ]
    with pytest.raises(SubmissionError, match="no members"):
        average({})


def test_members_files_with_all_their_problems(tmp_path, make_predictions):
    save_predictions(make_predictions(), tmp_path / "good.npz")
    (tmp_path / "bad.pt").write_text("text")
    np.savez(
        tmp_path / "few.npz",
        narration_id=np.array(["x"]),
        verb_output=np.zeros((1, 125)),
        noun_output=np.zeros((1, 352)),
    )
    with pytest.raises(SubmissionError) as caught:
        load_members({"a": tmp_path / "good.npz", "b": tmp_path / "bad.pt", "c": tmp_path / "few.npz"})
    text = str(caught.value)
    assert f"b: {tmp_path / 'bad.pt'}: not a file of predictions" in text
    assert f"c: {tmp_path / 'few.npz'}: 125 verb classes, 97 expected" in text
    assert f"c: {tmp_path / 'few.npz'}: 352 noun classes, 300 expected" in text
    assert len(text.splitlines()) == 3
    assert list(load_members({"a": tmp_path / "good.npz"})) == ["a"]


@pytest.fixture
def annotations(tmp_path):
    rows = ["narration_id,verb_class,noun_class", "a,0,5", "b,0,5", "c,0,6", "d,3,299"]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_the_prior_fills_what_is_missing(ids, make_predictions, annotations):
    members = {"a": make_predictions(ids[2:]), "b": make_predictions()}
    filled, which = fill_prior(members, ids, annotations, "train.csv")
    assert which == {"a": ids[:2]}
    assert filled["b"] is members["b"]
    chosen = filled["a"].select(ids)
    for row in (0, 1):
        probabilities = np.exp(chosen.verb_logprobs[row])
        np.testing.assert_allclose(probabilities[[0, 3]], [0.75, 0.25], rtol=1e-6)
        np.testing.assert_allclose(np.exp(chosen.noun_logprobs[row][[5, 6, 299]]), [0.5, 0.25, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(chosen.verb_logprobs[2:], members["a"].verb_logprobs)
    assert len(average(filled, ids)) == 6


def test_the_prior_of_whole_members_reads_nothing(ids, make_predictions, tmp_path):
    members = {"a": make_predictions()}
    assert fill_prior(members, ids, tmp_path, "absent.csv") == (members, {})


def test_a_prior_without_its_table(ids, make_predictions, annotations):
    with pytest.raises(ValidationError, match=r"absent\.csv: no such table"):
        fill_prior({"a": make_predictions(ids[1:])}, ids, annotations, "absent.csv")
    (annotations / "other.csv").write_text("narration_id,verb_class,noun_class\na,120,3\n")
    with pytest.raises(SubmissionError, match="has a class 120, 97 classes expected"):
        fill_prior({"a": make_predictions(ids[1:])}, ids, annotations, "other.csv")
