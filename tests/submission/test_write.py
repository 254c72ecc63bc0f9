import hashlib
import json
import zipfile

import numpy as np
import pytest
import torch

from epicsub.errors import SubmissionError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions, read_predictions
from epicsub.submission import Levels, check_submission, write_submission
from epicsub.submission import write as writing

LEVELS = Levels(2, 3, 3)


def read_json(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["test.json"]
        return json.loads(archive.read("test.json"))


def test_the_torch_file(written, ids, make_predictions):
    rows = torch.load(written.pt, weights_only=True)
    assert [row["narration_id"] for row in rows] == ids
    assert all(list(row) == ["narration_id", "verb_output", "noun_output"] for row in rows)
    assert {(row["verb_output"].dtype, tuple(row["verb_output"].shape)) for row in rows} == {(torch.float32, (97,))}
    assert {tuple(row["noun_output"].shape) for row in rows} == {(300,)}
    assert len({row[key].untyped_storage().data_ptr() for row in rows for key in ("verb_output", "noun_output")}) == 2
    np.testing.assert_array_equal(torch.stack([r["noun_output"] for r in rows]), make_predictions().noun_logprobs)


def test_the_zip_holds_the_torch_file(written):
    with zipfile.ZipFile(written.zip) as archive:
        assert archive.namelist() == ["submission.pt"]
        assert archive.testzip() is None
        assert archive.read("submission.pt") == written.pt.read_bytes()


def test_the_json_is_the_organisers_format(written, ids, make_predictions):
    content = read_json(written.json_zip)
    results = content.pop("results")
    assert content == {"version": "0.2", "challenge": "action_recognition", "sls_pt": 2, "sls_tl": 3, "sls_td": 3}
    assert list(results) == ids
    for row, name in enumerate(ids):
        for kind, classes in (("verb", 97), ("noun", 300)):
            assert list(results[name][kind]) == [str(number) for number in range(classes)]
            scores = np.array(list(results[name][kind].values()))
            np.testing.assert_allclose(scores, getattr(make_predictions(), f"{kind}_logprobs")[row], atol=5.0001e-3)


def test_the_other_challenge_has_its_own_key(tmp_path, ids, make_predictions, provenance):
    written = write_submission(tmp_path / "x", make_predictions(), ids, 6, LEVELS, provenance, "domain_adaptation")
    content = read_json(written.json_zip)
    assert list(content) == ["version", "challenge", "sls_pt", "sls_tl", "sls_td", "results_target"]
    assert content["challenge"] == "domain_adaptation"
    assert list(content["results_target"]) == ids
    assert json.loads(written.manifest.read_text())["challenge"] == "domain_adaptation"
    assert check_submission(written.json_zip, ids, 6, challenge="domain_adaptation").problems == []
    with pytest.raises(SubmissionError, match="no challenge 'anticipation'; there are action_recognition, domain_ad"):
        write_submission(tmp_path / "y", make_predictions(), ids, 6, LEVELS, provenance, "anticipation")


def test_exactly_the_list_in_its_order(tmp_path, ids, make_predictions, provenance):
    order = [ids[4], ids[0], ids[2]]
    written = write_submission(tmp_path / "x", make_predictions(), order, 3, LEVELS, provenance)
    assert read_predictions(written.pt).narration_ids.tolist() == order
    assert list(read_json(written.json_zip)["results"]) == order


def test_the_manifest(written, provenance):
    manifest = json.loads(written.manifest.read_text())
    assert manifest["members"] == provenance["members"]
    assert manifest["protocol"] == "validation/tiny.yaml"
    assert manifest["filled_with_prior"] == {}
    assert manifest["segments"] == {"written": 6, "expected": 6}
    assert manifest["levels"] == {"sls_pt": 2, "sls_tl": 3, "sls_td": 3}
    assert manifest["commit"]
    assert set(manifest["versions"]) == {"epicsub", "python", "torch", "numpy"}
    for path in written[:3]:
        content = path.read_bytes()
        assert manifest["files"][path.name] == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_same_predictions_same_bytes(tmp_path, written, ids, make_predictions, provenance):
    again = write_submission(tmp_path / "elsewhere" / "two", make_predictions(), ids, 6, LEVELS, provenance)
    for one, other in zip(written, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_low_log_probabilities_are_floored_so_that_nothing_underflows(tmp_path, ids, make_predictions, provenance):
    made = make_predictions(spread=100.0)
    rows = torch.load(write_submission(tmp_path / "x", made, ids, 6, LEVELS, provenance).pt, weights_only=True)
    verb, noun = (torch.stack([row[f"{kind}_output"] for row in rows]) for kind in ("verb", "noun"))
    assert verb.min() == noun.min() == np.float32(np.log(PROBABILITY_FLOOR))
    # As the scorer: one softmax over the whole matrix in float32. 13,092 rows divide by 13,092 / 6 more, twice.
    smallest = torch.softmax(verb.flatten(), 0).min() * torch.softmax(noun.flatten(), 0).min()
    assert smallest / (13092 / 6) ** 2 > np.finfo(np.float32).tiny


def test_another_count_missing_and_repeated_ids_all_at_once(tmp_path, ids, make_predictions, provenance):
    with pytest.raises(SubmissionError) as caught:
        write_submission(tmp_path / "x", make_predictions(ids[1:]), [*ids, ids[3]], 9449, LEVELS, provenance)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("the test list has 7 segments, 9449 expected; ")
    assert lines[0].endswith("say --count 7")
    assert lines[1] == "the test list names segments more than once: P01_101_3"
    assert lines[2].startswith("no predictions for 1 of 7 segments: P01_101_0; ")
    assert list(tmp_path.iterdir()) == []


def test_many_missing_ids_are_counted(tmp_path, make_predictions, provenance):
    wanted = [f"P02_101_{n}" for n in range(40)]
    with pytest.raises(
        SubmissionError, match=r"no predictions for 40 of 40 segments: P02_101_0, .*\.\.\. \(40 in all\)"
    ):
        write_submission(tmp_path / "x", make_predictions(), wanted, 40, LEVELS, provenance)


def test_a_manifest_that_leaves_things_out(tmp_path, ids, make_predictions, provenance):
    del provenance["views"], provenance["members"][0]["sha256"]
    with pytest.raises(SubmissionError) as caught:
        write_submission(tmp_path / "x", make_predictions(), ids, 6, LEVELS, provenance)
    assert str(caught.value).splitlines() == [
        "the manifest lacks views, give it", "the manifest's member a lacks sha256, give it",
    ]  # fmt: skip


def test_a_place_that_cannot_be_written(tmp_path, ids, make_predictions, provenance):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SubmissionError, match="file/x: the submission cannot be written: "):
        write_submission(tmp_path / "file" / "x", make_predictions(), ids, 6, LEVELS, provenance)


def test_a_failure_leaves_the_earlier_submission_whole(written, ids, make_predictions, provenance, monkeypatch):
    before = {path.name: path.read_bytes() for path in written}

    def fails(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_json_zip", fails)
    with pytest.raises(SubmissionError, match="No space left on device"):
        write_submission(written.pt.parent, make_predictions(seed=5), ids, 6, LEVELS, provenance)
    assert {path.name: path.read_bytes() for path in written.pt.parent.iterdir()} == before
    assert list(written.pt.parent.parent.iterdir()) == [written.pt.parent]


def test_writing_again_replaces_all_four_and_nothing_else(written, ids, make_predictions, provenance):
    (written.pt.parent / "notes.txt").write_text("mine")
    again = write_submission(written.pt.parent, make_predictions(seed=5), ids, 6, LEVELS, provenance)
    assert [check_submission(path, ids, 6).problems for path in again[:3]] == [[], [], []]
    np.testing.assert_array_equal(read_predictions(again.pt).verb_logprobs, make_predictions(seed=5).verb_logprobs)
    assert (written.pt.parent / "notes.txt").read_text() == "mine"


def test_ids_that_need_escaping(tmp_path, make_predictions, provenance):
    names = ['P"01', "P\\02", "Pé"]
    written = write_submission(tmp_path / "x", make_predictions(names), names, 3, LEVELS, provenance)
    assert list(read_json(written.json_zip)["results"]) == names


def test_what_is_written_reads_back_as_predictions(written, make_predictions):
    read = read_predictions(written.pt)
    assert isinstance(read, Predictions)
    np.testing.assert_allclose(read.noun_logprobs, make_predictions().noun_logprobs, atol=2e-6)
