"""The organisers' formula on ten pairs a segment, held against all 29,100."""

import numpy as np
import pytest

from epicsub.submission.ranking import changed_by_the_scorer, log_softmax


def test_log_probabilities_are_ranked_as_they_are(make_predictions):
    made = make_predictions([str(n) for n in range(50)])
    tables = (made.verb_logprobs, made.noun_logprobs)
    for sent in (tables, tuple(table.astype(np.float64) for table in tables)):
        assert not changed_by_the_scorer(sent, tables).any.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["probabilities", "offset", "wide", "scaled"])
def test_changes_are_those_that_a_full_sort_finds(organisers, kind, dtype):
    rng = np.random.default_rng(4)
    verb, noun = (log_softmax(rng.normal(0, 2, (40, classes))) for classes in (97, 300))
    sent = {
        "probabilities": (np.exp(verb), np.exp(noun)),
        "offset": (verb + rng.normal(0, 40, (40, 1)), noun + rng.normal(0, 40, (40, 1))),
        "wide": (verb * 20, noun * 20),
        "scaled": (verb * 0.5, noun),
    }[kind]
    sent = tuple(table.astype(dtype) for table in sent)
    changed = changed_by_the_scorer(sent, (verb, noun))
    pairs, products = organisers(*sent, 5)
    sums = verb[:, :, None] + noun[:, None, :]
    for row in range(40):
        wanted = -np.sort(-sums[row].ravel())[:5]
        got = np.array([sums[row, i, j] for i, j in pairs[row]])
        off = np.abs(got - wanted) > (2e-5 if dtype == np.float32 else 2e-9)
        off |= products[row] < np.finfo(dtype).tiny
        assert changed.action[row] == off.any(), row
        assert changed.action_first[row] == off[0], row
    assert changed.action.any() == (kind in ("probabilities", "scaled") or (kind, dtype) == ("offset", np.float32))


def test_a_verb_that_moves_is_seen_even_where_no_action_does(make_predictions):
    made = make_predictions(["a", "b"])
    verb = made.verb_logprobs.copy()
    first, second = np.argsort(-verb[1])[[3, 4]]
    verb[1, [first, second]] = verb[1, [second, first]]
    changed = changed_by_the_scorer((verb, made.noun_logprobs), (made.verb_logprobs, made.noun_logprobs))
    assert changed.verb.tolist() == [False, True]
    assert changed.noun.tolist() == [False, False]


def test_level_scores_may_stand_in_either_order(make_predictions):
    made = make_predictions(["a"])
    verb = made.verb_logprobs.copy()
    order = np.argsort(-verb[0])
    verb[0, order[1]] = verb[0, order[0]] - np.float32(1e-6)
    swapped = verb.copy()
    swapped[0, order[:2]] = verb[0, order[1::-1]]
    assert not changed_by_the_scorer((swapped, made.noun_logprobs), (verb, made.noun_logprobs)).any.any()
    as_doubles = tuple(table.astype(np.float64) for table in (swapped, made.noun_logprobs))
    assert changed_by_the_scorer(as_doubles, (verb, made.noun_logprobs)).any.all()


def test_rows_that_vanish_are_changed(make_predictions):
    """Low rows of a table of logits come out as zero for every pair: which one then stands first says nothing."""
    made = make_predictions(["a", "b"])
    sent = (made.verb_logprobs.copy(), made.noun_logprobs.copy())
    sent[0][1] -= 200
    assert changed_by_the_scorer(sent, (made.verb_logprobs, made.noun_logprobs)).action.tolist() == [False, True]
