import json
from datetime import date

import pytest

from epicsub.errors import SubmissionError
from epicsub.submission import Levels, write_submission
from epicsub.submission.ledger import Limits, mark_uploaded, read_ledger

TODAY = date(2026, 5, 3)
ONE_A_DAY = Limits()


@pytest.fixture
def folder(tmp_path, ids, make_predictions, provenance):
    """Two submissions."""
    for seed, name in enumerate(("one", "two")):
        predictions = make_predictions(seed=seed)
        write_submission(tmp_path / "submissions" / name, predictions, ids, 6, Levels(2, 3, 3), provenance)
    return tmp_path / "submissions"


def refusal(folder, name, day=TODAY, limits=ONE_A_DAY):
    with pytest.raises(SubmissionError) as caught:
        mark_uploaded(read_ledger(folder), name, day, TODAY, limits)
    return str(caught.value)


def test_uploads_are_counted_by_day_and_in_all(folder):
    mark_uploaded(read_ledger(folder), "one", date(2026, 5, 1), TODAY, ONE_A_DAY)
    mark_uploaded(read_ledger(folder), "two", TODAY, TODAY, ONE_A_DAY)
    mark_uploaded(read_ledger(folder), "one", date(2026, 5, 2), TODAY, ONE_A_DAY)
    ledger = read_ledger(folder)
    assert [entry.name for entry in ledger.entries] == ["one", "two"]
    assert [[upload.day for upload in ledger.of(entry)] for entry in ledger.entries] == [
        ["2026-05-01", "2026-05-02"],
        ["2026-05-03"],
    ]
    assert ledger.report(TODAY, ONE_A_DAY) == [
        "action_recognition: 3 of 50 uploads used, 47 left; 1 of 1 on 2026-05-03 (UTC)"
    ]
    assert ledger.used("domain_adaptation") == 0
    assert [item["day"] for item in json.loads((folder / "uploads.json").read_text())["uploads"]] == [
        "2026-05-01", "2026-05-02", "2026-05-03",
    ]  # fmt: skip


def test_one_a_day(folder):
    mark_uploaded(read_ledger(folder), "one", TODAY, TODAY, ONE_A_DAY)
    assert "takes 1 upload a day, and one went on 2026-05-03" in refusal(folder, "two")
    mark_uploaded(read_ledger(folder), "two", TODAY, TODAY, Limits(per_day=2))
    assert read_ledger(folder).used("action_recognition", TODAY) == 2


def test_fifty_in_all(folder):
    for day in range(1, 3):
        mark_uploaded(read_ledger(folder), "one", date(2026, 5, day), TODAY, ONE_A_DAY)
    assert "takes 2 uploads in all, and 2 went" in refusal(folder, "two", limits=Limits(1, 2))


def test_the_challenges_are_counted_apart(folder, ids, make_predictions, provenance):
    write_submission(folder / "uda", make_predictions(), ids, 6, Levels(0, 3, 3), provenance, "domain_adaptation")
    mark_uploaded(read_ledger(folder), "one", TODAY, TODAY, ONE_A_DAY)
    mark_uploaded(read_ledger(folder), "uda", TODAY, TODAY, ONE_A_DAY)
    ledger = read_ledger(folder)
    assert (ledger.used("action_recognition"), ledger.used("domain_adaptation")) == (1, 1)


def test_names_and_days_that_cannot_be(folder):
    assert refusal(folder, "three").endswith("three: no such submission (there: one, two)")
    said = refusal(folder, "one", date(2026, 5, 4))
    assert said == "2026-05-04 is still to come: today is 2026-05-03 (UTC); give the day that it was"
    assert not (folder / "uploads.json").exists()


def test_files_that_are_not_those_of_the_manifest(folder):
    (folder / "one" / "submission.zip").write_bytes(b"another")
    assert "submission.zip is not the file that" in refusal(folder, "one")
    (folder / "one" / "submission.zip").unlink()  # git keeps only the manifest
    mark_uploaded(read_ledger(folder), "one", TODAY, TODAY, ONE_A_DAY)


def test_a_folder_written_anew_is_not_what_was_uploaded(folder, ids, make_predictions, provenance):
    mark_uploaded(read_ledger(folder), "one", TODAY, TODAY, ONE_A_DAY)
    write_submission(folder / "one", make_predictions(seed=9), ids, 6, Levels(2, 3, 3), provenance)
    ledger = read_ledger(folder)
    assert ledger.of(ledger.entries[0]) == []
    assert ledger.used("action_recognition") == 1


def test_damage_is_named_all_at_once(folder):
    (folder / "one" / "manifest.json").write_text("{")
    (folder / "uploads.json").write_text('{"uploads": [{"name": "one"}]}')
    with pytest.raises(SubmissionError) as caught:
        read_ledger(folder)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{folder / 'one' / 'manifest.json'}: not a manifest")
    assert lines[1].startswith(f"{folder / 'uploads.json'}: not a ledger")


def test_no_folder_yet(tmp_path):
    ledger = read_ledger(tmp_path / "submissions")
    assert (ledger.entries, ledger.uploads) == ([], [])
