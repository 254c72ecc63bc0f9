"""Searches against exhaustive ones, and cross-validation against chance."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions
from epicsub.submission.ensemble import Head, blend_head, equal_blend, tempered
from epicsub.submission.learn import learn, plan
from epicsub.submission.search import Labelled, figures, fit_greedy, fit_likelihood, fit_temperature, folds_of


def tables_with(rng, strengths, count=200, classes=7):
    """Tables of log-probabilities that know the labels with these strengths."""
    label_N = rng.integers(0, classes, count)
    tables = []
    for strength in strengths:
        logits = rng.normal(size=(count, classes))
        logits[np.arange(count), label_N] += strength
        tables.append(tempered(logits, 0.999999))
    return tables, label_N


def loss(rule, tables, label_N, weights):
    head = Head(tuple(weights), (1.0,) * len(tables))
    return -blend_head(rule, tables, head)[np.arange(len(label_N)), label_N].mean()


@pytest.mark.parametrize("rule", ["mean", "logits"])
@given(seed=st.integers(0, 9999))
@settings(max_examples=8, deadline=None)
def test_no_weights_on_a_grid_are_more_likely(rule, seed):
    rng = np.random.default_rng(seed)
    tables, label_N = tables_with(rng, rng.uniform(0, 3, 3))
    found = loss(rule, tables, label_N, fit_likelihood(rule, tables, label_N, (1.0,) * 3))
    grid = [(a / 10, b / 10, (10 - a - b) / 10) for a in range(11) for b in range(11 - a)]
    assert found <= min(loss(rule, tables, label_N, weights) for weights in grid) + 2e-4


@given(seed=st.integers(0, 9999), true=st.floats(0.3, 4))
@settings(max_examples=10, deadline=None)
def test_the_temperature_is_found_again(seed, true):
    """Labels drawn from the probabilities themselves; then the member is made surer or less sure than it may be."""
    rng = np.random.default_rng(seed)
    fair = np.log(rng.dirichlet(np.full(5, 0.5), 4000) + 1e-9)
    label_N = (np.exp(fair).cumsum(1) < rng.random((4000, 1))).sum(1).clip(max=4)
    found = fit_temperature(fair / true, label_N)
    assert found == pytest.approx(1 / true, rel=0.15)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 300))
    losses = [-tempered(fair / true, warm)[np.arange(4000), label_N].mean() for warm in grid]
    assert -tempered(fair / true, found)[np.arange(4000), label_N].mean() <= min(losses) + 1e-5


def slow_greedy(tables, label_N, rounds):
    """Caruana's selection with replacement for the mean of probabilities, written out."""
    parts = [np.exp(table) for table in tables]
    chosen, best = [], (-1.0, -np.inf, [])
    for _ in range(rounds):
        tried = []
        for k in range(len(parts)):
            total = sum(parts[m] for m in [*chosen, k])
            own = total[np.arange(len(label_N)), label_N]
            rest = np.where(np.eye(total.shape[1], dtype=bool)[label_N], -np.inf, total).max(1)
            tried.append(((own > rest).mean(), (own - rest).mean() / (len(chosen) + 1)))
        pick = max(range(len(parts)), key=lambda k: tried[k])
        chosen.append(pick)
        if tried[pick] > best[:2]:
            best = (*tried[pick], list(chosen))
    return np.bincount(best[2], minlength=len(parts)) / len(best[2])


@given(seed=st.integers(0, 9999))
@settings(max_examples=8, deadline=None)
def test_greedy_selection_is_the_papers(seed):
    rng = np.random.default_rng(seed)
    tables, label_N = tables_with(rng, rng.uniform(0, 3, 4), count=60)
    found = fit_greedy("mean", tables, label_N, (1.0,) * 4, rounds=8)
    np.testing.assert_allclose(found, slow_greedy(tables, label_N, 8))


def test_ranks_have_no_likelihood():
    with pytest.raises(SubmissionError, match="take greedy"):
        fit_likelihood("rank", [np.zeros((2, 3))] * 2, np.zeros(2, int), (1.0, 1.0))


def labelled(strengths, seed=0, kitchens=6, videos=4, each=10, scale=1.0):
    """Members that know verbs and nouns with these strengths, over kitchens of several videos."""
    rng = np.random.default_rng(seed)
    ids = [f"P{k:02d}_{v:02d}_{n}" for k in range(kitchens) for v in range(videos) for n in range(each)]
    verbs, nouns = rng.integers(0, 9, len(ids)), rng.integers(0, 9, len(ids))
    members = []
    for strength in strengths:
        verb, noun = rng.normal(-8, 1, (len(ids), 97)), rng.normal(-8, 1, (len(ids), 300))
        verb[:, :9], noun[:, :9] = rng.normal(size=(2, len(ids), 9))
        verb[np.arange(len(ids)), verbs] += strength
        noun[np.arange(len(ids)), nouns] += strength
        members.append(Predictions.from_scores(ids, scale * verb, scale * noun))
    table = pd.DataFrame(
        {"participant_id": [name[:3] for name in ids], "verb_class": verbs, "noun_class": nouns}, index=ids
    )
    return Labelled(members, table)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_folds_keep_kitchens_whole(kitchens, videos, each):
    made = labelled([], kitchens=kitchens, videos=videos, each=each)
    if kitchens * videos == 1:
        with pytest.raises(SubmissionError, match="one video"):
            folds_of(made)
        return
    folds = folds_of(made)
    groups = made.kitchens if kitchens > 1 else made.videos
    assert all(len(set(folds[groups == name])) == 1 for name in set(groups))
    assert sorted(set(folds)) == list(range(min(5, len(set(groups)))))


def test_no_gain_is_reported_where_there_is_none():
    """Twelve members that know nothing: the search flatters itself on its own segments, cross-validation does not."""
    made = learn(labelled([0.0] * 12, seed=3), "mean", "greedy", False)
    assert made.in_sample["verb@1"].value > made.chosen["verb@1"].value + 4
    assert made.chosen["verb@1"].interval.low < 100 / 9 < made.chosen["verb@1"].interval.high, "chance"
    assert not made.gain["action@1"].gain
    assert made.gain["action@1"].value == pytest.approx(made.chosen["action@1"].value - made.mean["action@1"].value)


@pytest.mark.parametrize("how", ["search", "greedy", "likelihood"])
@pytest.mark.parametrize("rule", ["mean", "logits"])
def test_a_good_member_among_useless_ones_is_found(rule, how):
    one = labelled([4.0, 0.0, 0.0, 0.0], seed=1)
    made = learn(one, rule, how, False)
    assert made.blend.verb.weights[0] > 0.4
    assert made.blend.noun.weights[0] > 0.4
    assert sum(made.blend.verb.weights) == pytest.approx(1)
    assert made.gain["action@1"].gain
    assert set(made.how.values()) <= {"equal", "greedy", "likelihood"}


def test_out_of_fold_is_made_without_the_fold():
    """Other labels in one kitchen change what the other kitchens are predicted with, and not what it is itself."""
    one = labelled([2.0, 1.0, 0.5])
    inside = folds_of(one) == folds_of(one)[0]
    table = one.labels.copy()
    table.loc[inside, ["verb_class", "noun_class"]] = 50
    other = learn(replace(one, labels=table), "mean", "likelihood", True).out_of_fold
    same = learn(one, "mean", "likelihood", True).out_of_fold
    np.testing.assert_array_equal(other.verb_logprobs[inside], same.verb_logprobs[inside])
    assert not np.array_equal(other.verb_logprobs[~inside], same.verb_logprobs[~inside])


def test_equal_weights_learn_nothing_and_temperatures_are_of_each_head():
    one = labelled([2.0, 1.0], scale=3.0)
    assert learn(one, "mean", "equal", False).blend == equal_blend(2)
    warm = learn(one, "mean", {"verb": (0.7, 0.3), "noun": (0.2, 0.8)}, True)
    assert warm.blend.verb.weights == (0.7, 0.3)
    assert warm.blend.noun.weights == (0.2, 0.8)
    for head in (warm.blend.verb, warm.blend.noun):  # the best multiple of such scores is their strength
        assert head.temperatures == pytest.approx((3 / 2, 3 / 1), rel=0.25)
    assert warm.how == {"verb": "given", "noun": "given"}


def test_figures_are_plain_accuracies():
    one = labelled([2.0])
    made = figures(one, one.members[0])
    right = one.members[0].verb_logprobs.argmax(1) == one.labels["verb_class"].to_numpy()
    assert made["verb@1"].value == pytest.approx(100 * right.mean())
    assert made["verb@1"].interval.low < made["verb@1"].value < made["verb@1"].interval.high
    assert figures(one, one.members[0], one.members[0])["action@5"].value == 0


def test_a_plan_puts_the_best_first_and_a_copy_last():
    """A copy adds nothing, whatever it is worth alone."""
    one = labelled([2.5, 0.5, 1.8])
    copied = Labelled([*one.members, one.members[0]], one.labels)
    places, folds = plan(copied, ["good", "poor", "fair", "copy"])
    assert folds == 5
    assert places[0].name == "good"
    assert places[1].name == "fair"
    assert places[1].verdict == "adds"
    assert {place.name: place.verdict for place in places}["poor"] != "adds"
    assert places[0].adds.value == pytest.approx(places[0].alone["action@1"].value, abs=8)
    everyone = equal_blend(4).apply(copied.members)
    whole = figures(copied, everyone)["action@1"].value
    assert sum(place.adds.value for place in places) == pytest.approx(whole, abs=0.3)
