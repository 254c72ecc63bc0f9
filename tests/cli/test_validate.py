"""epicsub validate on runs and files of predictions: report, records, comparison."""

import json
import re

import numpy as np
import pandas as pd
import pytest

import epicsub
from epicsub.predictions import Predictions, read_predictions, save_predictions

pytestmark = pytest.mark.xdist_group("cli")


@pytest.fixture(scope="module")
def files(kitchens, work):
    """Predictions of the small validation list: one that knows much, one that knows less, one of a part."""
    labels = pd.read_csv(kitchens / "annotations" / "EPIC_100_validation.csv")
    rng = np.random.default_rng(0)
    rows = np.arange(len(labels))
    for name, rise, count in (("good", 9.0, 24), ("poor", 0.0, 24), ("partial", 9.0, 7)):
        verb, noun = rng.normal(0, 1, (len(labels), 97)), rng.normal(0, 1, (len(labels), 300))
        verb[rows, labels["verb_class"]] += rise
        noun[rows, labels["noun_class"]] += rise
        made = Predictions.from_scores(labels["narration_id"].tolist(), verb, noun)
        save_predictions(made.select(made.narration_ids[:count]), work / f"{name}.npz")
    return work


def test_two_targets_are_compared(command, kitchens, files) -> None:
    done = command("validate", "poor.npz", "good.npz", "--data", kitchens, "--protocol", "small.yaml")
    assert done.status == 0, done.err
    assert done.out.startswith("coverage: 24 of 24 segments (small, poor)\n")
    assert "good less poor, over the 24 segments that both predicted" in done.out
    row = next(line for line in done.out.splitlines() if "all action accuracy at 1" in line)
    assert row.split()[-1] == "gain"
    for group in ("by frame rate", "by length", "by training frequency", "by action"):
        assert group in done.out


def test_detail_in_the_json(command, kitchens, files) -> None:
    words = ["--data", kitchens, "--protocol", "small.yaml", "--json", "detail.json"]
    assert command("validate", "partial.npz", *words).status == 0
    entry = json.loads((files / "detail.json").read_text())["partial"]
    assert list(entry) == ["protocol", "coverage", "scores", "detail"]
    assert entry["coverage"] == {"segments": 7, "of": 24}
    assert set(entry["detail"]["groups"]) >= {"kitchen", "frame rate", "length", "training frequency", "action"}


def test_a_notebook_scores_files_and_predictions_without_a_command(command, kitchens, files, monkeypatch) -> None:
    words = ["--data", kitchens, "--protocol", "small.yaml", "--json", "command.json"]
    assert command("validate", "poor.npz", "good.npz", *words).status == 0
    monkeypatch.chdir(files)
    seen = []
    found = epicsub.validate(
        ["poor.npz", "good.npz"], "small.yaml", kitchens, on_model=lambda model: seen.append(model.name)
    )
    assert found.to_json() == json.loads((files / "command.json").read_text())
    assert seen == list(found.scores) == ["poor", "good"]
    assert found.coverage["good"] == (24, 24)
    alone = epicsub.validate(read_predictions(files / "good.npz"), "small.yaml", kitchens)
    assert alone.scores["predictions 1"] == found.scores["good"]
    assert [path.name for path in alone.write_records(files / "kept")] == ["predictions_1.small.json", "README.md"]


def test_a_protocol_is_found_by_name_and_a_path_wins(command, kitchens, files, tmp_path, monkeypatch) -> None:
    words = ["validate", "good.npz", "--data", kitchens, "--count", 24]
    by_path = command(*words, "--protocol", "validation/tiny.yaml")
    assert by_path.status == 0, by_path.err
    assert "protocol" not in by_path.err
    by_name = command(*words, "--protocol", "tiny")
    assert by_name.out == by_path.out
    assert "protocol tiny: " in by_name.err
    assert "validation/tiny.yaml" in by_name.err
    (files / "tiny").write_text((files / "small.yaml").read_text())
    own = command(*words, "--protocol", "tiny")
    (files / "tiny").unlink()
    assert own.out.startswith("coverage: 24 of 24 segments (small, good)")
    monkeypatch.chdir(tmp_path)  # without the repository's folders, what a recipe names is still found
    found = epicsub.validate(files / "good.npz", "validation/tiny.yaml", kitchens, count=24)
    assert found.protocol.name == "tiny"
    assert str(found.records) == "validation/runs"


def test_the_report_has_curves_and_middle_frames(command, kitchens, files, run) -> None:
    words = ["--data", kitchens, "--protocol", "small.yaml", "--report", "page"]
    done = command("validate", run, "poor.npz", *words)
    assert done.status == 0, done.err
    assert "wrote page/index.html" in done.out
    text = (files / "page" / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    first, second = data["models"]
    assert len(first["curves"]["train: loss_classification"]) == 12
    assert second["curves"] == {}
    shown = {mistake["id"] for model in data["models"] for mistake in model["mistakes"]}
    assert set(data["pictures"]) == shown
    assert all(picture.startswith("data:image/jpeg;base64,/9j/") for picture in data["pictures"].values())


def test_a_report_without_videos_says_why_there_is_no_picture(command, kitchens, files, tmp_path) -> None:
    (tmp_path / "annotations").symlink_to(kitchens / "annotations")
    words = ["--data", tmp_path, "--protocol", "small.yaml", "--report", "bare"]
    assert command("validate", "poor.npz", *words).status == 0
    text = (files / "bare" / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert all("no rgb for video" in reason for reason in data["pictures"].values())


def test_records_lie_beside_the_protocol_with_their_story(command, kitchens, files, run) -> None:
    words = ["--data", kitchens, "--protocol", "small.yaml", "--record"]
    done = command("validate", run, "good.npz", *words)
    assert done.status == 0, done.err
    record = json.loads((files / "runs" / "short.small.json").read_text())
    assert record["coverage"] == {"segments": 24, "of": 24}
    provenance = record["from"]
    assert (provenance["kind"], provenance["recipe"], provenance["seed"], provenance["step"]) == (
        "checkpoint",
        "tiny_mmir_i3d",
        1,
        12,
    )
    assert len(provenance["sha256"]) == 64
    table = (files / "runs" / "README.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith(("| short", "| good"))]
    assert [row.split()[1] for row in rows] == ["good", "short"]  # the best first
    assert "100.00 (100.0 to 100.0)" in rows[0]
    assert "24 of 24" in rows[1]
    again = command("validate", "partial.npz", *words)
    assert again.status == 0, again.err
    assert (files / "runs" / "README.md").read_text().count("24 of 24") == 2
    assert "7 of 24" in (files / "runs" / "README.md").read_text()
    size = (files / "runs" / "short.small.json").stat().st_size
    assert size < 5000


def test_a_checkpoint_chosen_by_the_labels_that_are_scored_says_so(command, kitchens, files) -> None:
    """small.yaml lets no choice read the validation labels; shifted.yaml does."""
    text = (files / "small.yaml").read_text()
    allowed = text.replace("selection:", "selection_lists: [EPIC_100_validation.csv]\nselection:")
    (files / "shifted.yaml").write_text(allowed)
    words = [
        "train.stages.0.steps=2", "train.stages.1.steps=2", "train.stages.0.source_batch=5",
        "train.stages.1.source_batch=5", "model.width=0.0625", "data.workers=0", "train.evaluate_every=2",
        "train.select=all_verb_accuracy_at_1", "evaluation.protocol=small.yaml",
    ]  # fmt: skip
    words += ["--data", kitchens, "--out", "outputs/chosen"]
    done = command("train", "recipes/tiny/source_only.yaml", *words)
    assert done.status == 0, done.err
    done = command("validate", "chosen", "--data", kitchens, "--protocol", "small.yaml", "--json", "chosen.json")
    assert done.status == 0, done.err
    said = "chosen was chosen by all_verb_accuracy_at_1 on EPIC_100_validation.csv, the list that is scored here"
    assert f"{said}: its figures are too high, and protocol small keeps these labels for reporting" in done.out
    assert json.loads((files / "chosen.json").read_text())["chosen"]["detail"]["notes"][0].startswith(said)
    done = command("validate", "chosen", "--data", kitchens, "--protocol", "shifted.yaml")
    assert f"{said}, as protocol small allows: report it on another list" in done.out


def test_a_damaged_record_is_named(command, kitchens, files) -> None:
    words = ["--data", kitchens, "--protocol", "small.yaml", "--record"]
    (files / "runs").mkdir(exist_ok=True)
    damaged = files / "runs" / "broken.json"
    damaged.write_text('{"name": "x"}')
    done = command("validate", "good.npz", *words)
    damaged.unlink()
    assert done.status == 2
    assert "runs/broken.json: not a record of `validate --record`" in done.err


def test_records_go_elsewhere(command, kitchens, files, tmp_path) -> None:
    words = ["validate", "good.npz", "--data", kitchens, "--protocol", "small.yaml", "--record-to"]
    done = command(*words, tmp_path / "own")
    assert done.status == 0, done.err
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"good.small.json", "README.md"}
    (tmp_path / "file").touch()
    done = command(*words, tmp_path / "file" / "own")
    assert done.status == 2
    assert "file/own/good.small.json: cannot be written: Not a directory: " in done.err
    assert "--record-to DIR takes another" in done.err


def test_a_protocol_with_parts_is_asked_for_one(command, kitchens, files) -> None:
    done = command("validate", "good.npz", "--data", kitchens, "--protocol", "validation/mmsada.yaml")
    assert done.status == 2
    assert "this protocol has parts; name one of validation/mmsada.yaml:D1-D2" in done.err


def test_lists_of_a_protocol_are_made_by_a_command(command, files, shared_data, tmp_path) -> None:
    words = ["validation/mmsada.yaml", "--from", shared_data / "mm-sada-splits", "--data", tmp_path]
    done = command("data", "lists", *words)
    assert done.status == 0, done.err
    assert "D2_test.csv: 750 rows" in done.out
    labels = pd.read_csv(tmp_path / "annotations" / "mmsada" / "D2_test.csv")
    names = labels["narration_id"].tolist()
    verb = np.full((750, 97), -5.0)
    verb[np.arange(750), labels["verb_class"]] = 5
    made = Predictions.from_scores(names, verb, np.zeros((750, 300)))
    save_predictions(made, files / "d1_d2.npz")
    words = ["--protocol", "validation/mmsada.yaml:D1-D2", "--data", tmp_path, "--json", "d.json", "--report", "d"]
    done = command("validate", "d1_d2.npz", *words)
    assert done.status == 0, done.err
    entry = json.loads((files / "d.json").read_text())["d1_d2"]
    assert entry["protocol"] == "mmsada:D1-D2"
    assert entry["scores"] == {"all_verb_accuracy_at_1": 100.0, "all_verb_accuracy_at_5": 100.0}
    refused = command("data", "lists", "validation/ek100_shift.yaml", "--data", tmp_path)
    assert refused.status == 2
    assert "EPIC_100_train.csv: no such table" in refused.err
