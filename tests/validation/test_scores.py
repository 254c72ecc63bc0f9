from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from epicsub.errors import ValidationError
from epicsub.predictions import Predictions
from epicsub.validation.report import Reference
from epicsub.validation.scores import action_hits_at, hits_at


def official_scores(predictions: Predictions, labels: pd.DataFrame, *groups: Collection[Any]) -> dict[str, float]:
    return Reference("test", labels, *groups).evaluate(predictions).scores


def slow_scores(verb, noun, labels, tail_verbs, tail_nouns, unseen):
    """The definition, one segment at a time: softmax, products of 100 highest by 100 highest, argsort()[::-1]."""
    verb = np.exp(verb.astype(np.float64)) / np.exp(verb.astype(np.float64)).sum()
    noun = np.exp(noun.astype(np.float64)) / np.exp(noun.astype(np.float64)).sum()
    counted: dict[str, list[bool]] = {}
    for v, n, label in zip(verb, noun, labels.itertuples(), strict=True):
        top_verbs, top_nouns = v.argsort()[::-1][:100], n.argsort()[::-1][:100]
        products = np.outer(v[top_verbs], n[top_nouns]).ravel()
        pairs = [divmod(flat, len(top_nouns)) for flat in products.argsort()[::-1][:5]]
        actions = [(top_verbs[i], top_nouns[j]) for i, j in pairs]
        truth = (label.verb_class, label.noun_class)
        groups = {
            "tail_verb": truth[0] in tail_verbs,
            "tail_noun": truth[1] in tail_nouns,
            "tail_action": truth[0] in tail_verbs or truth[1] in tail_nouns,
        }
        for k in (1, 5):
            hit = {"verb": truth[0] in top_verbs[:k], "noun": truth[1] in top_nouns[:k], "action": truth in actions[:k]}
            for task in hit:
                counted.setdefault(f"all_{task}_accuracy_at_{k}", []).append(hit[task])
                if k == 1 and groups[f"tail_{task}"]:
                    counted.setdefault(f"tail_{task}_accuracy_at_1", []).append(hit[task])
                if k == 1 and label.participant_id in unseen:
                    counted.setdefault(f"unseen_{task}_accuracy_at_1", []).append(hit[task])
    return {name: 100 * sum(hits) / len(hits) for name, hits in counted.items()}


def scores_that_know_something(labels, seed):
    """Random scores in which the truth is raised, so that every figure lies well inside 0 to 100."""
    rng = np.random.default_rng(seed)
    verb, noun = rng.normal(0, 2, (len(labels), 97)), rng.normal(0, 2, (len(labels), 300))
    rows = np.arange(len(labels))
    verb[rows, labels["verb_class"]] += 4
    noun[rows, labels["noun_class"]] += 4
    return Predictions.from_scores(labels["narration_id"].tolist(), verb, noun)


def made_up_labels(count=300, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "narration_id": [f"P01_01_{n}" for n in range(count)],
            "participant_id": rng.choice(["P01", "P02", "P03"], count),
            "verb_class": rng.integers(0, 97, count),
            "noun_class": rng.integers(0, 300, count),
        }
    )


TWELVE = [
    *(f"all_{task}_accuracy_at_{k}" for task in ("verb", "noun", "action") for k in (1, 5)),
    *(f"{group}_{task}_accuracy_at_1" for group in ("tail", "unseen") for task in ("verb", "noun", "action")),
]


def test_all_twelve_equal_the_slow_definition_on_the_real_validation_list(shared_data):
    folder = shared_data / "epic-100-annotations"
    labels = pd.read_csv(folder / "EPIC_100_validation.csv")
    tail_verbs = set(pd.read_csv(folder / "EPIC_100_tail_verbs.csv")["verb"])
    tail_nouns = set(pd.read_csv(folder / "EPIC_100_tail_nouns.csv")["noun"])
    unseen = set(pd.read_csv(folder / "EPIC_100_unseen_participant_ids_validation.csv")["participant_id"])
    predictions = scores_that_know_something(labels, seed=1)
    groups = (tail_verbs, tail_nouns, unseen)
    fast = official_scores(predictions, labels, *groups)
    slow = slow_scores(predictions.verb_logprobs, predictions.noun_logprobs, labels, *groups)
    assert list(fast) == TWELVE
    assert fast == pytest.approx(slow, rel=0, abs=1e-9)
    assert all(5 < value < 95 for value in fast.values())


@pytest.mark.parametrize("seed", range(5))
def test_made_up_labels_equal_the_slow_definition(seed):
    labels = made_up_labels(seed=seed)
    predictions = scores_that_know_something(labels, seed)
    groups = (set(range(40, 97)), set(range(100, 300)), {"P02"})
    slow = slow_scores(predictions.verb_logprobs, predictions.noun_logprobs, labels, *groups)
    assert official_scores(predictions, labels, *groups) == pytest.approx(slow, rel=0, abs=1e-9)


def test_by_hand():
    """Two segments. First: verb 3 and noun 5 are highest and right. Second: the truth is second in both."""
    verb, noun = np.full((2, 97), -20.0), np.full((2, 300), -20.0)
    verb[:, 3], verb[:, 4], noun[:, 5], noun[:, 6] = 2.0, 1.0, 2.0, 1.0
    labels = pd.DataFrame(
        {
            "narration_id": ["b", "a"],  # not the order of the predictions
            "participant_id": ["P02", "P01"],
            "verb_class": [4, 3],
            "noun_class": [6, 5],
        }
    )
    scores = official_scores(Predictions.from_scores(["a", "b"], verb, noun), labels, {4}, set(), {"P01"})
    assert scores == {
        "all_verb_accuracy_at_1": 50.0,
        "all_verb_accuracy_at_5": 100.0,
        "all_noun_accuracy_at_1": 50.0,
        "all_noun_accuracy_at_5": 100.0,
        "all_action_accuracy_at_1": 50.0,
        "all_action_accuracy_at_5": 100.0,  # (4, 6) comes fourth
        "tail_verb_accuracy_at_1": 0.0,
        "tail_action_accuracy_at_1": 0.0,  # no tail noun: that figure is absent
        "unseen_verb_accuracy_at_1": 100.0,
        "unseen_noun_accuracy_at_1": 100.0,
        "unseen_action_accuracy_at_1": 100.0,
    }


def test_scores_over_nothing_are_absent():
    labels = made_up_labels()
    scores = official_scores(scores_that_know_something(labels, 0), labels, set(), set(), set())
    assert list(scores) == TWELVE[:6]


def test_the_order_of_rows_does_not_matter():
    labels = made_up_labels()
    predictions = scores_that_know_something(labels, 0)
    groups = ({1, 2, 3}, {4, 5}, {"P01"})
    mixed = official_scores(predictions, labels.sample(frac=1, random_state=3), *groups)
    assert mixed == official_scores(predictions, labels, *groups)


# Ties


def slow_ranking(verb_V, noun_M):
    """The organisers' two sorts with a stable one in numpy's place, on sums of integers, which tie exactly."""
    verbs, nouns = (np.argsort(scores, kind="stable")[::-1][:100] for scores in (verb_V, noun_M))
    sums = np.add.outer(verb_V[verbs], noun_M[nouns]).ravel()
    first = [int(flat) for flat in np.argsort(sums, kind="stable")[::-1][:100]]
    again = np.argsort([sums[flat] for flat in first], kind="stable")[::-1]
    return [(verbs[first[at] // len(nouns)], nouns[first[at] % len(nouns)]) for at in again]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from([1, 5]), st.integers(1, 40))
def test_tied_actions_rank_as_the_two_stable_sorts(data, k, levels):
    values = st.integers(-levels, 0)
    verb = data.draw(arrays(np.float32, (1, 97), elements=values, fill=st.just(-1)))
    noun = data.draw(arrays(np.float32, (1, 300), elements=values, fill=st.just(-1)))
    ranked = slow_ranking(verb[0], noun[0])
    # The pairs about the border, and some anywhere.
    truths = [*ranked[: k + 3], *((v, n) for v in (0, 5, 96) for n in (0, 150, 299))]
    for v, n in truths:
        hit = action_hits_at(verb, noun, np.array([v]), np.array([n]), k)
        assert hit.tolist() == [(v, n) in ranked[:k]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1), st.sampled_from([1, 5]))
def test_actions_of_rows_with_few_levels(levels, seed, k):
    rng = np.random.default_rng(seed)
    verb = rng.integers(0, levels, (20, 97)).astype(np.float32)
    noun = rng.integers(0, levels, (20, 300)).astype(np.float32)
    v, n = verb.argmax(axis=1), noun.argmax(axis=1)
    expected = [
        truth in slow_ranking(*rows)[:k] for *rows, truth in zip(verb, noun, zip(v, n, strict=True), strict=True)
    ]
    assert action_hits_at(verb, noun, v, n, k).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (3, 97), elements=st.integers(-3, 3)), st.sampled_from([1, 5]))
def test_tied_classes_rank_last_first(scores, k):
    ranked = np.argsort(scores, axis=1, kind="stable")[:, ::-1]
    for label in range(97):
        expected = [label in row[:k] for row in ranked]
        assert hits_at(scores, np.full(3, label), k).tolist() == expected


def test_a_constant_row_counts_for_the_last_class():
    assert [hits_at(np.zeros((1, 97)), np.array([label]), 1)[0] for label in (0, 95, 96)] == [False, False, True]


def test_more_hits_with_larger_k():
    labels = made_up_labels()
    made = scores_that_know_something(labels, 2)
    verb, noun = labels["verb_class"].to_numpy(), labels["noun_class"].to_numpy()
    hits = [action_hits_at(made.verb_logprobs, made.noun_logprobs, verb, noun, k) for k in (1, 2, 3, 5, 10)]
    assert all((fewer <= more).all() for fewer, more in pairwise(hits))
    for k, fast in zip((1, 2, 3, 5, 10), hits, strict=True):
        sums = made.verb_logprobs.astype(float)[:, :, None] + made.noun_logprobs.astype(float)[:, None, :]
        own = sums[np.arange(len(labels)), verb, noun]
        np.testing.assert_array_equal(fast, (sums > own[:, None, None]).sum(axis=(1, 2)) < k)


# Joins


def test_unknown_segments_are_named():
    labels = made_up_labels()
    predictions = scores_that_know_something(labels, 0)
    with pytest.raises(ValidationError) as caught:
        official_scores(predictions, labels.iloc[2:], set(), set(), set())
    assert "2 of 300 predicted segments are not in the labelled list: P01_01_0, P01_01_1;" in str(caught.value)


def test_labels_outside_the_classes_are_named():
    labels = made_up_labels()
    predictions = scores_that_know_something(labels, 0)
    labels.loc[7, "verb_class"], labels.loc[9, "noun_class"] = 97, -1
    with pytest.raises(ValidationError) as caught:
        official_scores(predictions, labels, set(), set(), set())
    assert str(caught.value).splitlines() == [
        "verb_class is not within 0 to 96, as it must be, for P01_01_7",
        "noun_class is not within 0 to 299, as it must be, for P01_01_9",
    ]
