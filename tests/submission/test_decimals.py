"""Few decimals, the same ranking: held against a full sort of every pair."""

import json
import zipfile

import numpy as np
import pytest

from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.submission import Levels
from epicsub.submission.decimals import FEWEST, MOST, round_scores
from epicsub.submission.json_text import ROWS_AT_ONCE
from epicsub.submission.write import write_json_zip


def floored(predictions):
    lowest = np.float32(np.log(PROBABILITY_FLOOR))
    tables = (np.maximum(table, lowest) for table in (predictions.verb_logprobs, predictions.noun_logprobs))
    return Predictions(predictions.narration_ids, *tables)


def written_and_read(predictions, path, challenge="action_recognition"):
    """Verb and noun numbers as json.loads has them."""
    write_json_zip(path, predictions, Levels(2, 3, 3), challenge)
    with zipfile.ZipFile(path) as archive:
        results = json.loads(archive.read("test.json"))["results"]
    assert list(results) == predictions.narration_ids.tolist()
    return tuple(
        np.array([[row[kind][str(number)] for number in range(classes)] for row in results.values()])
        for kind, classes in (("verb", 97), ("noun", 300))
    )


def pairs_by_full_sort(verb, noun):
    """The organisers' 100 best (verb, noun) of one segment, from all 29,100 sums, and the 101 best sums."""
    sums = (verb.astype(np.float64)[:, None] + noun.astype(np.float64)).ravel()
    order = np.argsort(-sums, kind="stable")[:101]
    return order[:100], sums[order]


@pytest.mark.parametrize("spread", [1e-4, 0.01, 1.0, 3.0, 8.0, 40.0])
def test_every_ranking_is_that_of_the_tensors(tmp_path, make_predictions, spread):
    """Narrow rows are where few decimals would tie, wide ones where floored scores are level."""
    made = floored(make_predictions([f"P01_101_{n}" for n in range(60)], seed=3, spread=spread))
    read = written_and_read(made, tmp_path / "x.zip")
    for numbers, tensors in zip(read, (made.verb_logprobs, made.noun_logprobs), strict=True):
        np.testing.assert_array_equal(
            np.argsort(numbers, axis=1, kind="stable"), np.argsort(tensors, axis=1, kind="stable")
        )
    for row in range(len(made)):
        wanted, sums = pairs_by_full_sort(made.verb_logprobs[row], made.noun_logprobs[row])
        got, _ = pairs_by_full_sort(read[0][row], read[1][row])
        apart = np.diff(sums) < -1e-12
        level = np.split(np.arange(101), np.flatnonzero(apart) + 1)  # groups of level pairs may come in any order
        for group in level:
            if 100 not in group:
                assert set(got[group]) == set(wanted[group])


def test_a_pair_whose_scores_have_no_near_neighbours():
    """By hand: no two verbs and no two nouns are near each other, but -1.0000 - 2.0006 and -1.5004 - 1.5004 are.

    In three decimals the sums would be -3.001 and -3.000: the lower one first. They are 0.0002 apart, so the four
    scores need units below 0.0001.
    """
    verb, noun = -19 - np.arange(97.0)[None] / 15, -19 - np.arange(300.0)[None] / 35
    verb[0, :2], noun[0, :2] = (-1.0, -1.5004), (-1.5004, -2.0006)
    rounded = round_scores(verb, noun)
    for part in rounded:
        assert part.decimals[0, :2].tolist() == [5, 5]
    assert rounded[0].units[0, :2].tolist() == [-100000, -150040]


def test_a_score_far_from_all_others_gets_the_fewest_and_neighbours_get_more():
    verb, noun = -10 - np.arange(97.0)[None] / 7, -3 - np.arange(300.0)[None] ** 2 / 4000
    noun[0, -1] = -27.0
    noun[0, 290:292] = -26.51231, -26.51237
    decimals = round_scores(verb, noun)[1].decimals[0]
    assert decimals[-1] == FEWEST
    assert decimals[290:292].tolist() == [5, 5]


def test_level_scores_stay_level_and_cost_no_decimals():
    verb, noun = np.full((2, 97), -27.631021), np.full((2, 300), -27.631021)
    verb[:, 4], noun[:, 7] = -0.25, -0.125
    for part in round_scores(verb, noun):
        assert [len(np.unique(row)) for row in part.units] == [2, 2]
        assert part.decimals.max() == FEWEST


def test_pairs_closer_than_any_softmax_resolves_end_the_search():
    verb, noun = -10 - np.arange(97.0)[None] / 7, -10 - np.arange(300.0)[None] / 31
    verb[0, 1] = verb[0, 0] - 1e-11
    noun[0, 1] = noun[0, 0] - 1.01e-11
    assert [part.decimals.max() for part in round_scores(verb, noun)] == [MOST, MOST]


def test_many_rows_come_in_their_order_with_the_content_of_plain_json(tmp_path, make_predictions):
    """Across the borders of what is laid out at once; the numbers are those that json.dumps would write."""
    names = [f"P01_101_{n}" for n in range(2 * ROWS_AT_ONCE + 3)]
    made = floored(make_predictions(names, spread=2.5))
    read = written_and_read(made, tmp_path / "x.zip")
    tables = (made.verb_logprobs, made.noun_logprobs)
    for numbers, part, table in zip(read, round_scores(*tables), tables, strict=True):
        plain = np.array(
            [
                [round(float(x), int(d)) for x, d in zip(*row, strict=True)]
                for row in zip(table, part.decimals, strict=True)
            ]
        )
        np.testing.assert_array_equal(numbers, plain)


def test_positive_and_zero_scores(tmp_path):
    """A log-probability may come out a hair above zero."""
    verb, noun = np.full((1, 97), -27.0, np.float32), np.full((1, 300), -27.0, np.float32)
    verb[0, 3], noun[0, 299] = 2e-4, 0.0
    read = written_and_read(Predictions(np.array(["a"]), verb, noun), tmp_path / "x.zip")
    assert (read[0][0, 3], read[1][0, 299]) == (pytest.approx(0, abs=5e-3), 0.0)


def test_scores_that_were_not_floored_are_no_text(tmp_path, make_predictions):
    with pytest.raises(ValueError, match="floored"):
        write_json_zip(tmp_path / "x.zip", make_predictions(["a"], spread=200.0), Levels(2, 3, 3))
