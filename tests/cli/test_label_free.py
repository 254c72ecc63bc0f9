"""epicsub validate --label-free: no label of the validation list is read, and what does not fit is refused."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from epicsub.predictions import Predictions, save_predictions

pytestmark = pytest.mark.xdist_group("cli")
HELD_OUT = "EPIC_100_heldout.csv"


@pytest.fixture(scope="module")
def unlabelled(kitchens, work):
    """A data root whose validation list has no labels, and predictions for it and the held-out list."""
    root = work / "unlabelled"
    shutil.copytree(kitchens / "annotations", root / "annotations")
    path = root / "annotations" / "EPIC_100_validation.csv"
    rng = np.random.default_rng(0)
    held = pd.read_csv(root / "annotations" / "EPIC_100_train.csv")
    held = held[held["video_id"] == held["video_id"].iloc[0]]
    held.to_csv(root / "annotations" / HELD_OUT, index=False)
    whole = pd.concat([pd.read_csv(path), held])
    rows = np.arange(len(whole))
    for name, rise in (("sure", 9.0), ("unsure", 1.0)):
        scores = [rng.normal(0, 1, (len(whole), classes)) for classes in (97, 300)]
        for table, column in zip(scores, ("verb_class", "noun_class"), strict=True):
            table[rows, whole[column]] += rise
        save_predictions(Predictions.from_scores(whole["narration_id"].tolist(), *scores), work / f"{name}.npz")
    pd.read_csv(path).drop(columns=["verb_class", "noun_class", "verb", "noun"], errors="ignore").to_csv(
        path, index=False
    )
    return root


def test_models_are_scored_without_a_label(command, unlabelled) -> None:
    words = ("--data", unlabelled, "--protocol", "small.yaml", "--label-free", HELD_OUT, "--json", "free.json")
    done = command("validate", "unsure.npz", "sure.npz", *words)
    assert done.status == 0, done.err
    assert "24 segments of EPIC_100_validation.csv, no label of which was read" in done.out
    found = json.loads((command.folder / "free.json").read_text())
    assert list(found) == ["unsure", "sure"]
    assert list(found["sure"]["scores"]) == ["ENT", "PRIOR", "IM", "BNM", "SND", "DEV", "SRC"]
    for score in ("ENT", "DEV", "SRC"):
        assert found["sure"]["scores"][score] > found["unsure"]["scores"][score], score
    row = next(line for line in done.out.splitlines() if line.split()[:1] == ["sure"])
    assert row.split()[1].endswith("*")
    assert command("validate", "sure.npz", "--data", unlabelled, "--protocol", "small.yaml").status == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--label-free", "EPIC_100_validation.csv"), "is the list that is scored without its labels"),
        (("--label-free", "nowhere.csv"), "nowhere.csv"),
        (("--label-free", "EPIC_100_test_timestamps.csv"), "a source list needs labels"),
        (("--label-free", HELD_OUT, "--record"), "--label-free has no --record"),
    ],
)
def test_refusals(command, unlabelled, words: tuple[str, ...], said: str) -> None:
    done = command("validate", "sure.npz", "--data", unlabelled, "--protocol", "small.yaml", *words)
    assert done.status == 2
    assert said in done.err


def test_a_run_chooses_by_prior_without_a_label_and_what_it_learned_is_no_held_out_list(
    command, features_root, unlabelled, tmp_path
) -> None:
    shutil.copytree(features_root, tmp_path / "root")
    annotations = tmp_path / "root" / "annotations"
    train = pd.read_csv(annotations / "EPIC_100_train.csv")
    own = train["video_id"] == train["video_id"].iloc[0]
    train[own].to_csv(annotations / HELD_OUT, index=False)
    train[~own].to_csv(annotations / "rest.csv", index=False)
    shutil.copy(unlabelled / "annotations" / "EPIC_100_validation.csv", annotations)
    words = [
        "data.source=[rest.csv]", "train.stages=[{steps: 6, learning_rate: 1e-3, source_batch: 5, target_batch: 0}]",
        "evaluation.protocol=small.yaml", "train.evaluate_every=2", "train.checkpoint_every=2",
        "train.select=label_free_prior", f"evaluation.held_out={HELD_OUT}",
    ]  # fmt: skip
    recipe, data = "recipes/tiny/features_source_only.yaml", ("--data", tmp_path / "root")
    done = command("train", recipe, *words, *data, "--out", "outputs/label_free")
    assert done.status == 0, done.err
    lines = (command.folder / "outputs/label_free/metrics.jsonl").read_text().splitlines()
    seen = [line for line in map(json.loads, lines) if line["kind"] == "validation"]
    assert [line["step"] for line in seen] == [2, 4, 6]
    assert all("label_free_entropy" in line and "all_verb_accuracy_at_1" not in line for line in seen)
    kept = torch.load(command.folder / "outputs/label_free/best.pth", weights_only=True)
    assert kept["scores"]["label_free_prior"] == max(line["label_free_prior"] for line in seen)

    scored = ("validate", "label_free", *data, "--protocol", "small.yaml", "--device", "cpu", "--label-free")
    done = command(*scored, HELD_OUT, "--json", "run.json")
    assert done.status == 0, done.err
    found = json.loads((command.folder / "run.json").read_text())["label_free"]["scores"]
    assert found["PRIOR"] == pytest.approx(kept["scores"]["label_free_prior"], rel=1e-6)
    done = command(*scored, "rest.csv")
    assert done.status == 2
    assert "was trained on rest.csv, which has" in done.err
    done = command("train", recipe, *words[:-1], *data, "--out", "outputs/label_free_2")
    assert done.status == 2
    assert "evaluation.held_out" in done.err
    done = command("train", recipe, *words[:-1], "evaluation.held_out=rest.csv", *data, "--out", "outputs/label_free_3")
    assert done.status == 2
    assert "which data.source trains on" in done.err
