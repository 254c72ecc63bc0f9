"""Re-ranking by training's pairs: exact against a slow joint, of use where pairs are real, off where they are not."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.predictions import Predictions
from epicsub.submission.pairs import ABOVE, choose_strength, log_ratio, read_ratio, rerank
from epicsub.submission.search import Labelled
from epicsub.validation.scores import hits_of


def test_the_ratio_by_hand():
    """Eight segments: (0, 0) four times where 4 * 5 / 8 are expected, (0, 1) never where 4 * 3 / 8 are."""
    verbs, nouns = [0, 0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 1, 1, 1, 0]
    found = np.exp(log_ratio(verbs, nouns))
    assert found[0, 0] == pytest.approx((4 + 1) / (2.5 + 1))
    assert found[0, 1] == pytest.approx(1 / (1.5 + 1))
    assert found[50, 60] == 1, "a pair of which nothing is known"


@given(st.integers(0, 9999), st.sampled_from([0.25, 0.5, 1.0]), st.floats(0.5, 3))
@settings(max_examples=12, deadline=None)
def test_the_vectors_are_the_joints_marginals_with_its_best_pair_first(seed, strength, spread):
    rng = np.random.default_rng(seed)
    ratio = np.zeros((97, 300))
    ratio[:12, :12] = rng.normal(0, 1.5, (12, 12))
    scores = [np.full((5, classes), -30.0) for classes in (97, 300)]
    for table in scores:
        table[:, :12] = rng.normal(0, spread, (5, 12))
    before = Predictions.from_scores([f"a_{n}" for n in range(5)], *scores)
    after = rerank(before, ratio, strength)
    for row in range(5):
        joint = np.outer(
            np.exp(before.verb_logprobs[row].astype(float)), np.exp(before.noun_logprobs[row].astype(float))
        )
        joint *= np.exp(strength * ratio)
        joint /= joint.sum()
        best = np.unravel_index(joint.argmax(), joint.shape)
        assert (after.verb_logprobs[row].argmax(), after.noun_logprobs[row].argmax()) == best
        for axis, logprobs, own in ((1, after.verb_logprobs[row], best[0]), (0, after.noun_logprobs[row], best[1])):
            wanted = joint.sum(axis=axis)
            if wanted.argmax() != own:
                wanted[own] = wanted.max() * np.exp(ABOVE)
                wanted /= wanted.sum()
            np.testing.assert_allclose(np.exp(logprobs), np.maximum(wanted, 1e-12), rtol=2e-4, atol=1e-9)


def test_no_strength_is_no_change(make_predictions):
    before = make_predictions()
    assert rerank(before, np.ones((97, 300)), 0.0) is before


def world(paired, seed=0, train=4000, kitchens=6, each=150):
    """Kitchens whose verbs choose their nouns (or not), and predictions that are unsure of both."""
    rng = np.random.default_rng(seed)
    affinity = np.exp((2.0 if paired else 0.0) * rng.normal(size=(20, 30)))
    chance = affinity / affinity.sum()

    def draw(count):
        return np.divmod(rng.choice(600, count, p=chance.ravel()), 30)

    ids = [f"P{k:02d}_{n % 5:02d}_{n}" for k in range(kitchens) for n in range(each)]
    verbs, nouns = draw(len(ids))
    scores = []
    for classes, known, truth, axis in ((97, 20, verbs, 1), (300, 30, nouns, 0)):
        table = np.full((len(ids), classes), -20.0)
        seen = rng.normal(size=(len(ids), known))
        seen[np.arange(len(ids)), truth] += 1.5
        table[:, :known] = 1.5 * seen + np.log(chance.sum(axis=axis))  # Bayes' rule for each head alone
        scores.append(table)
    table = pd.DataFrame(
        {"participant_id": [name[:3] for name in ids], "verb_class": verbs, "noun_class": nouns}, index=ids
    )
    member = Predictions.from_scores(ids, *scores)
    return Labelled([member], table), member, log_ratio(*draw(train))


def test_real_pairs_help_by_more_than_their_interval_and_go_on():
    labelled, member, ratio = world(paired=True)
    strength = choose_strength(labelled, member, ratio)
    assert strength.value == strength.best > 0
    assert strength.gain["action@1"].value > 3
    assert strength.gain["action@1"].gain
    for key in (("action", 1), ("action", 5), ("noun", 1)):
        before = hits_of(member, labelled.labels)[key].mean()
        assert hits_of(rerank(member, ratio, strength.value), labelled.labels)[key].mean() > before


def test_pairs_that_mean_nothing_stay_off():
    labelled, member, ratio = world(paired=False)
    strength = choose_strength(labelled, member, ratio)
    assert strength.value == 0
    assert not strength.gain["action@1"].gain


def test_the_training_list_is_read(tmp_path):
    (tmp_path / "train.csv").write_text("narration_id,verb_class,noun_class\na,0,0\nb,0,0\nc,1,1\n")
    np.testing.assert_array_equal(read_ratio(tmp_path / "train.csv"), log_ratio([0, 0, 1], [0, 0, 1]))
