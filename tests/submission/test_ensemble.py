"""Ensembles of members: by hand, and every rule against a slow implementation of its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.errors import SubmissionError, ValidationError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.submission import fill_prior
from epicsub.submission.choose import parse_weights
from epicsub.submission.ensemble import Blend, Head, aligned, blend_head, equal_blend, tempered


def average(members: dict[str, Predictions], ids: list[str]) -> Predictions:
    return equal_blend(len(members)).apply(aligned(members, ids))


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
    np.testing.assert_allclose(np.exp(average(members, ["x"]).verb_logprobs[0, :2]), [0.6, 0.4], rtol=1e-6)
    head = Head((0.75, 0.25), (1.0, 1.0))
    weighted = Blend("mean", head, head).apply(aligned(members, ["x"]))
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


def test_the_prior_is_no_submission(ids, make_predictions, annotations):
    other = make_predictions([f"P01_11_{n}" for n in range(6)])
    for most in (None, 6):
        with pytest.raises(SubmissionError) as caught:
            fill_prior({"a": other}, ids, annotations, "train.csv", most)
        assert "a has none of the 6 segments (P01_101_0, P01_101_1, P01_101_2, ... (6 in all))" in str(caught.value)
        assert "it has 6 others: 'P01_11_0', 'P01_11_1', 'P01_11_2', ... (6 in all)" in str(caught.value)
        assert "--fill-count" not in str(caught.value)
    two = {"a": make_predictions([*ids[:2], "P01_11_0"])}
    with pytest.raises(SubmissionError, match=r"a lacks 4 of 6 segments: P01_101_2.*at most 3.*say --fill-count 4"):
        fill_prior(two, ids, annotations, "train.csv")
    assert fill_prior(two, ids, annotations, "train.csv", 4)[1] == {"a": ids[2:]}


def test_ids_that_differ_in_blanks_or_capitals_are_told(ids, make_predictions):
    with pytest.raises(SubmissionError, match=r"it has 6 others, alike but for blanks or capitals: 'p01_101_0'"):
        average({"a": make_predictions([name.lower() for name in ids])}, ids)


def test_the_prior_of_whole_members_reads_nothing(ids, make_predictions, tmp_path):
    members = {"a": make_predictions()}
    assert fill_prior(members, ids, tmp_path, "absent.csv") == (members, {})


def test_a_prior_without_its_table(ids, make_predictions, annotations):
    with pytest.raises(ValidationError, match=r"absent\.csv: no such table"):
        fill_prior({"a": make_predictions(ids[1:])}, ids, annotations, "absent.csv")
    (annotations / "other.csv").write_text("narration_id,verb_class,noun_class\na,120,3\n")
    with pytest.raises(SubmissionError, match="has a class 120, 97 classes expected"):
        fill_prior({"a": make_predictions(ids[1:])}, ids, annotations, "other.csv")


def softmax(row):
    exponentials = np.exp(row - row.max())
    return exponentials / exponentials.sum()


def slow(rule, tables, weights, temperatures):
    """Probabilities of each row, class by class."""
    out = np.zeros(tables[0].shape)
    for row in range(len(out)):
        shares = [softmax(table[row] / warm) for table, warm in zip(tables, temperatures, strict=True)]
        for c in range(out.shape[1]):
            if rule == "mean":
                out[row, c] = sum(w * share[c] for w, share in zip(weights, shares, strict=True))
            elif rule == "rank":
                ranks = [
                    sum(other > table[row, c] for other in table[row])
                    + (sum(other == table[row, c] for other in table[row]) + 1) / 2
                    for table in tables
                ]
                out[row, c] = 1 / sum(w * rank for w, rank in zip(weights, ranks, strict=True))
            else:
                out[row, c] = np.prod([share[c] ** w for w, share in zip(weights, shares, strict=True)])
        out[row] /= out[row].sum()
    return out


@pytest.mark.parametrize("rule", ["mean", "geometric", "logits", "rank"])
@given(seed=st.integers(0, 9999), count=st.integers(1, 4), tied=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_rule_is_its_definition(rule, seed, count, tied):
    rng = np.random.default_rng(seed)
    tables = [np.log(rng.dirichlet(np.full(6, 0.5), 3) + 1e-6).astype(np.float32) for _ in range(count)]
    if tied:
        tables = [np.round(table) for table in tables]
    weights = rng.dirichlet(np.ones(count))
    temperatures = [1.0] * count if rule == "rank" else rng.uniform(0.5, 3, count).tolist()
    found = np.exp(blend_head(rule, tables, Head(tuple(weights), tuple(temperatures))))
    normal = [table - np.log(np.exp(table.astype(float)).sum(1, keepdims=True)) for table in tables]
    wanted = slow(rule, normal if rule == "mean" else tables, weights, temperatures)
    if rule == "mean" and 1.0 in temperatures:
        found = found / found.sum(1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-9)


def test_the_mean_of_logits_is_the_geometric_mean_and_no_other(make_predictions):
    members = [make_predictions(seed=n) for n in range(3)]
    rng = np.random.default_rng(0)
    shifted = [member.verb_logprobs + rng.normal(size=(6, 1)) for member in members]  # as raw logits come
    head = Head((0.5, 0.3, 0.2), (1.0, 1.0, 2.0))
    geometric = blend_head("geometric", [member.verb_logprobs for member in members], head)
    np.testing.assert_allclose(blend_head("logits", shifted, head), geometric, atol=1e-5)
    mean = blend_head("mean", [member.verb_logprobs for member in members], head)
    assert (mean.argmax(1) != geometric.argmax(1)).any()


def test_one_member_can_veto_the_geometric_mean_alone():
    sure, against = np.log([[0.98, 0.01, 0.01]]), np.log([[1e-9, 0.4, 0.6]])
    head = Head((0.5, 0.5), (1.0, 1.0))
    assert blend_head("mean", [sure, against], head).argmax() == 0
    assert blend_head("geometric", [sure, against], head).argmax() == 2


def test_ranks_take_no_notice_of_confidence(make_predictions):
    members = [make_predictions(seed=n) for n in range(3)]
    tables = [member.noun_logprobs for member in members]
    head = Head((0.6, 0.2, 0.2), (1.0,) * 3)
    sharper = [tempered(table, 0.1) for table in tables]
    np.testing.assert_array_equal(blend_head("rank", tables, head), blend_head("rank", sharper, head))


def test_a_blend_has_weights_for_each_head_and_a_floor(make_predictions):
    members = [make_predictions(seed=1, spread=60.0), make_predictions(seed=2, spread=60.0)]
    blend = Blend("mean", Head((1.0, 0.0), (1.0, 1.0)), Head((0.0, 1.0), (1.0, 1.0)))
    made = blend.apply(members)
    lowest = np.float32(np.log(PROBABILITY_FLOOR))
    np.testing.assert_allclose(made.verb_logprobs, np.maximum(members[0].verb_logprobs, lowest), atol=1e-4)
    np.testing.assert_allclose(made.noun_logprobs, np.maximum(members[1].noun_logprobs, lowest), atol=1e-4)
    assert made.verb_logprobs.min() == lowest


def test_members_in_another_order_are_our_mistake(make_predictions, ids):
    with pytest.raises(ValueError, match="same order"):
        equal_blend(2).apply([make_predictions(), make_predictions(ids[::-1])])


def test_weights_by_hand():
    assert parse_weights("2,1,1", ["a", "b", "c"]) == {"verb": (0.5, 0.25, 0.25), "noun": (0.5, 0.25, 0.25)}
    assert parse_weights("1,0/0,1", ["a", "b"]) == {"verb": (1.0, 0.0), "noun": (0.0, 1.0)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1,2,3", "3 verb weights for 2 members (a, b)"),
        ("1", "1 noun weights for 2 members"),
        ("1,x", "'1,x' is not numbers"),
        ("1,-1", "none may be negative"),
        ("0,0", "one must be above zero"),
        ("nan,1", "none may be negative"),
        ("1,1/1,1/1,1", "3 lists"),
        ("best", "equal, search, greedy or likelihood"),
        ("1,1/0,0", "noun weights 0,0"),
    ],
)
def test_weights_that_make_no_sense(text, told):
    with pytest.raises(SubmissionError) as caught:
        parse_weights(text, ["a", "b"])
    assert told in str(caught.value)
