"""test.json in its zip: few decimals and the same rankings, held against full sorts."""

import json
import shutil
import subprocess
import zipfile

import numpy as np
import pytest

from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.submission import Levels, json_zip
from epicsub.submission.json_zip import FEWEST, MOST, ROWS_AT_ONCE, round_scores, write_json_zip, write_zip


def decimals_of(rounded):
    """Decimals of each number of a row, as its shortest text has them."""
    return [len(np.format_float_positional(number, trim="-").partition(".")[2]) for number in rounded.tolist()]


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


def test_the_organisers_formula_ranks_the_file_as_the_full_precision(tmp_path, make_predictions, organisers):
    """One softmax over the whole table, the 100 highest nouns, all products, a full sort: every rank of every row."""
    made = floored(make_predictions([f"P01_101_{n}" for n in range(80)], seed=5, spread=2.5))
    read = written_and_read(made, tmp_path / "x.zip")
    full = tuple(table.astype(np.float64) for table in (made.verb_logprobs, made.noun_logprobs))
    assert organisers(*read, 100)[0] == organisers(*full, 100)[0]
    assert all((one != other).any() for one, other in zip(read, full, strict=True)), "nothing was rounded"


def test_a_pair_whose_scores_have_no_near_neighbours():
    """By hand: no two verbs and no two nouns are near each other, but -1.0000 - 2.0006 and -1.5004 - 1.5004 are.

    In three decimals the sums would be -3.001 and -3.000: the lower one first. They are 0.0002 apart, so the four
    scores need units below 0.0001.
    """
    verb, noun = -19 - np.arange(97.0)[None] / 15, -19 - np.arange(300.0)[None] / 35
    verb[0, :2], noun[0, :2] = (-1.0, -1.500412), (-1.500412, -2.000624)
    rounded_verb, rounded_noun = round_scores(verb, noun)
    assert rounded_verb[0, :2].tolist() == [-1.0, -1.50041]
    assert rounded_noun[0, :2].tolist() == [-1.50041, -2.00062]


def test_a_score_far_from_all_others_gets_the_fewest_and_neighbours_get_more():
    verb, noun = -10 - np.arange(97.0)[None] / 7, -3 - np.arange(300.0)[None] ** 2 / 4000
    noun[0, -1] = -27.123456
    noun[0, 290:292] = -26.512312, -26.512373
    decimals = decimals_of(round_scores(verb, noun)[1][0])
    assert decimals[-1] == FEWEST
    assert decimals[290:292] == [5, 5]


def test_level_scores_stay_level_and_cost_no_decimals():
    verb, noun = np.full((2, 97), -27.631021), np.full((2, 300), -27.631021)
    verb[:, 4], noun[:, 7] = -0.251, -0.125
    for part in round_scores(verb, noun):
        assert [len(np.unique(row)) for row in part] == [2, 2]
        assert max(decimals_of(part[0])) == FEWEST


def test_pairs_closer_than_any_softmax_resolves_end_the_search():
    verb, noun = -10 - np.arange(97.0)[None] / 7, -10 - np.arange(300.0)[None] / 31
    verb[0, 1] = verb[0, 0] - 1e-11
    noun[0, 1] = noun[0, 0] - 1.01e-11
    assert [max(decimals_of(part[0])) for part in round_scores(verb, noun)] == [MOST, MOST]


def test_many_rows_come_in_their_order_with_the_content_of_plain_json(tmp_path, make_predictions):
    """Across the borders of what is rounded at once; the numbers are those that json.dumps would write."""
    names = [f"P01_101_{n}" for n in range(2 * ROWS_AT_ONCE + 3)]
    made = floored(make_predictions(names, spread=2.5))
    read = written_and_read(made, tmp_path / "x.zip")
    for numbers, part in zip(read, round_scores(made.verb_logprobs, made.noun_logprobs), strict=True):
        np.testing.assert_array_equal(numbers, part)


def test_half_the_size_of_plain_json(tmp_path, make_predictions):
    """Beside json.dumps of every digit, with the level of deflate that the organisers' writer has."""
    made = floored(make_predictions([f"P01_101_{n}" for n in range(300)], spread=2.0))
    written_and_read(made, tmp_path / "x.zip")
    results = {
        name: {
            kind: {str(number): score for number, score in enumerate(row)} for kind, row in (("verb", v), ("noun", n))
        }
        for name, v, n in zip(
            made.narration_ids.tolist(), made.verb_logprobs.tolist(), made.noun_logprobs.tolist(), strict=True
        )
    }
    with zipfile.ZipFile(tmp_path / "plain.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=5) as archive:
        archive.writestr("test.json", json.dumps({"results": results}))
    assert (tmp_path / "x.zip").stat().st_size < (tmp_path / "plain.zip").stat().st_size / 2


def test_positive_and_zero_scores(tmp_path):
    """A log-probability may come out a hair above zero."""
    verb, noun = np.full((1, 97), -27.0, np.float32), np.full((1, 300), -27.0, np.float32)
    verb[0, 3], noun[0, 299] = 2e-4, 0.0
    read = written_and_read(Predictions(np.array(["a"]), verb, noun), tmp_path / "x.zip")
    assert (read[0][0, 3], read[1][0, 299]) == (pytest.approx(0, abs=5e-3), 0.0)


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_another_program_reads_the_zip(tmp_path):
    write_zip(tmp_path / "x.zip", "test.json", [b"a" * 100000, b"b"])
    tested = subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout


def test_the_number_of_threads_does_not_show(tmp_path, monkeypatch, make_predictions):
    made = make_predictions([f"P01_101_{n}" for n in range(40)])
    monkeypatch.setattr(json_zip, "ROWS_AT_ONCE", 4)
    pool, written = json_zip.ThreadPoolExecutor, []
    for threads in (1, 3, 8):
        monkeypatch.setattr(json_zip, "ThreadPoolExecutor", lambda threads=threads: pool(threads))
        write_json_zip(tmp_path / "x.zip", made, Levels(2, 3, 3))
        written.append((tmp_path / "x.zip").read_bytes())
    assert written[0] == written[1] == written[2]


def test_a_part_that_fails_fails_the_whole(tmp_path):
    def parts():
        yield b"x"
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write_zip(tmp_path / "x.zip", "a", parts())
