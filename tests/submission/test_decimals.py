"""Few decimals, the same ranking: held against a full sort of every pair."""

import json
import zipfile

import numpy as np
import pytest

from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.submission import Levels
from epicsub.submission.decimals import MOST, round_scores
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


def test_a_pair_that_three_decimals_would_swap():
    """By hand: no two verbs and no two nouns are near each other, but -1.0000 - 2.0006 and -1.5004 - 1.5004 are.

    In three decimals they would be -3.001 and -3.000: the lower one first.
    """
    verb, noun = -9 - np.arange(97.0)[None] / 10, -9 - np.arange(300.0)[None] / 10
    verb[0, :2], noun[0, :2] = (-1.0, -1.5004), (-1.5004, -2.0006)  # sums: -2.5004, -3.0006, -3.0008, -3.501
    rounded = round_scores(verb, noun)
    assert [part.decimals.tolist() for part in rounded] == [[4], [4]]
    assert rounded[0].units[0, :2].tolist() == [-10000, -15004]
    assert rounded[1].units[0, :2].tolist() == [-15004, -20006]


def test_more_decimals_can_tie_what_fewer_held_apart():
    """-5.46451 and -5.46449661 differ in three decimals and not in four; the row must not end there."""
    verb, noun = -10 - np.arange(97.0)[None], -10 - np.arange(300.0)[None]
    verb[0, 5:7] = -5.46450996, -5.46449661
    noun[0, :2] = -3.0, -3.00002
    for part, table in zip(round_scores(verb, noun), (verb, noun), strict=True):
        assert len(np.unique(part.units)) == len(np.unique(table))


def test_level_scores_stay_level_and_cost_no_decimals():
    verb, noun = np.full((2, 97), -27.631021), np.full((2, 300), -27.631021)
    verb[:, 4], noun[:, 7] = -0.25, -0.125
    for part in round_scores(verb, noun):
        assert part.decimals.tolist() == [3, 3]
        assert [len(np.unique(row)) for row in part.units] == [2, 2]


def test_pairs_closer_than_any_softmax_resolves_end_the_search():
    verb, noun = -10 - np.arange(97.0)[None], -10 - np.arange(300.0)[None]
    verb[0, 1] = verb[0, 0] - 1e-11
    noun[0, 1] = noun[0, 0] - 1.05e-11
    assert all(part.decimals[0] <= MOST for part in round_scores(verb, noun))


def test_many_rows_come_in_their_order_with_the_content_of_plain_json(tmp_path, make_predictions):
    """Across the borders of what is laid out at once; the numbers are those that json.dumps would write."""
    names = [f"P01_101_{n}" for n in range(2 * ROWS_AT_ONCE + 3)]
    made = floored(make_predictions(names, spread=2.5))
    read = written_and_read(made, tmp_path / "x.zip")
    tables = (made.verb_logprobs, made.noun_logprobs)
    for numbers, part, table in zip(read, round_scores(*tables), tables, strict=True):
        plain = np.array([[round(float(x), int(d)) for x in row] for row, d in zip(table, part.decimals, strict=True)])
        np.testing.assert_array_equal(numbers, plain)


def test_positive_and_zero_scores(tmp_path):
    """A log-probability may come out a hair above zero."""
    verb, noun = np.full((1, 97), -27.0, np.float32), np.full((1, 300), -27.0, np.float32)
    verb[0, 3], noun[0, 299] = 2e-4, 0.0
    read = written_and_read(Predictions(np.array(["a"]), verb, noun), tmp_path / "x.zip")
    assert (read[0][0, 3], read[1][0, 299]) == (pytest.approx(0, abs=5e-4), 0.0)
