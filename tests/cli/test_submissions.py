"""Submissions as a user makes, checks and counts them, from files of predictions."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from epicsub.predictions import Predictions, save_predictions
from epicsub.validation import recorded_scores

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens for all
FILES = ("submission.pt", "submission.zip", "submission_json.zip")
LEVELS = ("--sls-pt", 0, "--sls-tl", 3, "--sls-td", 3)


def ids_of(kitchens: Path, name: str) -> list[str]:
    return pd.read_csv(kitchens / "annotations" / name).narration_id.tolist()


@pytest.fixture
def test_ids(kitchens: Path) -> list[str]:
    return ids_of(kitchens, "EPIC_100_test_timestamps.csv")


def member(path: Path, ids: list[str], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 3, (len(ids), 97)), rng.normal(0, 3, (len(ids), 300))
    save_predictions(Predictions.from_scores(ids, *scores), path)
    return path


@pytest.fixture
def submit(command, kitchens, work, tmp_path):
    """Submit files of predictions and return the folder."""

    def submit(name: str, *members: Path, more: tuple = (), protocol: str = "small.yaml") -> Path:
        words = ["--name", name, *LEVELS, "--protocol", protocol, "--data", kitchens, *more]
        done = command("submit", "--ensemble", *members, *words)
        assert done.status == 0, done.err
        return work / "submissions" / name

    return submit


@pytest.fixture
def check(command, kitchens):
    def check(path: Path, *more: object, protocol: str = "small.yaml"):
        return command("check", path, "--protocol", protocol, "--data", kitchens, *more)

    return check


def test_the_same_members_give_the_same_bytes(submit, test_ids, tmp_path) -> None:
    members = [member(tmp_path / f"{n}.npz", test_ids, n) for n in range(2)]
    first, second = submit("first", *members), submit("second", *members)
    for name in (*FILES, "manifest.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_what_a_killed_run_left_is_used_again_and_another_run_is_waited_for(
    submit, command, kitchens, work, test_ids, tmp_path
):
    one = member(tmp_path / "one.npz", test_ids)
    left = work / "submissions" / ".killed.unfinished"
    left.mkdir(parents=True)
    (left / "submission.pt").write_bytes(b"half")
    folder = submit("killed", one)
    assert not left.exists()
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
    left.mkdir()  # of a run that goes on
    with FileLock(left / "lock"):
        words = ["--name", "killed", *LEVELS, "--protocol", "small.yaml", "--data", kitchens]
        done = command("submit", one, *words)
    assert done.status == 2
    assert "submissions/killed: another process is writing this submission; wait for it" in done.err


def test_submissions_lie_in_another_place(command, kitchens, work, test_ids, tmp_path):
    one, place = member(tmp_path / "one.npz", test_ids), tmp_path / "a place"
    words = ["--name", place / "first", *LEVELS, "--protocol", "small.yaml", "--data", kitchens]
    done = command("submit", one, *words)
    assert done.status == 0, done.err
    assert f"epicsub submissions --folder '{place}' --uploaded first" in done.out
    done = command("submissions", "--folder", place, "--uploaded", "first")
    assert done.status == 0, done.err
    assert f"wrote {place / 'uploads.json'}" in done.out
    (place / "uploads.json").unlink()
    (place / "uploads.json").mkdir()
    done = command("submissions", "--folder", place, "--uploaded", "first")
    assert done.status == 2
    assert f"{place / 'uploads.json'}: cannot be written: " in done.err
    assert "name that with --folder" in done.err


def test_filled_segments_are_recorded_and_pass(submit, check, command, test_ids, tmp_path) -> None:
    short = [member(tmp_path / f"short{n}.npz", test_ids[3:], n) for n in range(2)]
    folder = submit("filled", *short, more=("--fill", "prior"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["filled_with_prior"] == {"short0": test_ids[:3], "short1": test_ids[:3]}
    rows = torch.load(folder / "submission.pt", weights_only=True)
    by_id = {row["narration_id"]: row["verb_output"] for row in rows}
    assert torch.equal(by_id[test_ids[0]], by_id[test_ids[2]])
    for name in FILES:
        assert check(folder / name).status == 0
    listed = command("submissions").out
    line = next(line for line in listed.splitlines() if "short0, short1" in line)
    assert line.split()[:5] == ["filled", "short0,", "short1", "20", "3"]


def test_check_lists_every_id_and_writes_them(submit, check, test_ids, tmp_path) -> None:
    folder = submit("ids", member(tmp_path / "a.npz", test_ids))
    rows = torch.load(folder / "submission.pt", weights_only=True)
    rows[0]["narration_id"], rows[1]["narration_id"] = "P77_101_1", rows[2]["narration_id"]
    torch.save(rows, tmp_path / "broken.pt")
    done = check(tmp_path / "broken.pt", "--ids", tmp_path / "ids.txt")
    assert done.status == 2
    assert f"2 segments of the list are missing: {test_ids[0]}, {test_ids[1]}" in done.err
    assert "1 segment is not in the list: P77_101_1" in done.err
    assert (tmp_path / "ids.txt").read_text().splitlines() == [
        f"twice {test_ids[2]}", f"missing {test_ids[0]}", f"missing {test_ids[1]}", "unexpected P77_101_1",
    ]  # fmt: skip


def test_a_validation_list_sent_as_test(check, kitchens, tmp_path) -> None:
    ids = ids_of(kitchens, "EPIC_100_validation.csv")
    path = member(tmp_path / "validation.pt", ids)
    done = check(path)
    assert done.status == 2
    assert "24 of its segments are in EPIC_100_validation.csv" in done.err
    done = check(path, "--data", tmp_path, "--count", 24)
    assert done.status == 2
    assert "every segment is of a video of 2018, as in the validation list" in done.err
    done = check(path, "--test-list", kitchens / "annotations" / "EPIC_100_validation.csv", "--count", 24)
    assert done.status == 0, "a phase may take the validation list"
    assert "has labels; the test list of the challenge has none" in done.out


def test_probabilities_are_a_warning_with_what_they_cost(check, test_ids, tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for name in test_ids:
        verb, noun = (torch.tensor(rng.normal(0, 2, classes)).softmax(0).float() for classes in (97, 300))
        rows.append({"narration_id": name, "verb_output": verb, "noun_output": noun})
    torch.save(rows, tmp_path / "p.pt")
    done = check(tmp_path / "p.pt")
    assert done.status == 0, done.err
    warning = next(line for line in done.out.splitlines() if "20 verb rows look like probabilities" in line)
    share = float(warning.split("changes the action top-5 of ")[1].split(" %")[0])
    products = [row["verb_output"].double()[:, None] * row["noun_output"].double() for row in rows]
    sums = [row["verb_output"].double()[:, None] + row["noun_output"].double() for row in rows]
    changed = sum(
        not torch.equal(p.flatten().topk(5)[1], s.flatten().topk(5)[1]) for p, s in zip(products, sums, strict=True)
    )
    assert share == pytest.approx(100 * changed / 20)
    assert share > 0


def test_the_domain_adaptation_challenge(submit, check, work, test_ids, tmp_path) -> None:
    text = (work / "small.yaml").read_text().replace("name: small", "name: uda\nchallenge: domain_adaptation")
    (work / "uda_small.yaml").write_text(text)
    folder = submit("uda", member(tmp_path / "a.npz", test_ids), protocol="uda_small.yaml")
    with zipfile.ZipFile(folder / "submission_json.zip") as archive:
        assert set(json.loads(archive.read("test.json"))) >= {"results_target", "version", "challenge"}
    assert check(folder / "submission_json.zip", protocol="uda_small.yaml").status == 0
    done = check(folder / "submission_json.zip")
    assert done.status == 2
    assert "challenge is 'domain_adaptation', 'action_recognition' expected" in done.err


def test_uploads_are_marked_once_a_day(submit, command, test_ids, tmp_path) -> None:
    submit("counted", member(tmp_path / "a.npz", test_ids))
    done = command("submissions", "--uploaded", "counted", "--day", "2026-04-01")
    assert done.status == 0, done.err
    assert "wrote submissions/uploads.json: counted, uploaded on 2026-04-01" in done.out
    assert "action_recognition: 1 of 50 uploads used, 49 left" in done.out
    done = command("submissions", "--uploaded", "counted", "--day", "2026-04-01")
    assert done.status == 2
    assert "takes 1 upload a day, and counted went on 2026-04-01" in done.err
    listed = command("submissions").out
    assert (
        next(line for line in listed.splitlines() if line.strip().startswith("counted")).rstrip().endswith("2026-04-01")
    )


def test_a_day_without_a_name(command) -> None:
    done = command("submissions", "--day", "2026-04-01")
    assert done.status == 2
    assert "--uploaded" in done.err


def test_recorded_scores_are_those_of_the_same_content(tmp_path) -> None:
    scores = {"all_action_accuracy_at_1": 41.5}
    record = {
        "name": "a", "protocol": "ek100", "coverage": {"segments": 2, "of": 2}, "scores": scores, "further": {},
        "intervals": {"all_action_accuracy_at_1": [39.0, 44.0]}, "from": {"sha256": "abc", "views": "1x1"},
    }  # fmt: skip
    (tmp_path / "a.ek100.json").write_text(json.dumps(record))
    (tmp_path / "b.ek100.json").write_text(json.dumps(record | {"from": {"sha256": "other"}}))
    (found,) = recorded_scores("abc", tmp_path)
    assert (found["record"], found["scores"], found["views"]) == ("a.ek100.json", scores, "1x1")
    assert found["intervals"] == {"all_action_accuracy_at_1": [39.0, 44.0]}
    (tmp_path / "c.json").write_text("{}")
    with pytest.raises(Exception, match=r"c\.json: not a record"):
        recorded_scores("abc", tmp_path)
