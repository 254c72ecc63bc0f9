"""Features made, taken up after a kill, trained on, predicted with and submitted, as a user does it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

SHORT = [
    "train.stages.0.steps=3", "train.stages.1.steps=6", "train.stages.0.source_batch=5",
    "train.stages.1.source_batch=5", "train.stages.1.target_batch=10", "train.log_every=1",
    "train.checkpoint_every=2", "model.dims={rgb: 64, flow: 64}",
    "evaluation.protocol=small.yaml",
]  # fmt: skip


@pytest.fixture(scope="module")
def features(command, kitchens: Path, run: Path) -> Path:
    """Features of every segment of the kitchens, by the tiny run, in shards of 30."""
    out = kitchens / "features" / "source_only"
    lists = [
        word
        for name in ("EPIC_100_train", "EPIC_100_validation", "EPIC_100_test_timestamps")
        for word in ("--list", f"{name}.csv")
    ]
    done = command("data", "features", run, "--data", kitchens, "-o", out, *lists, "--per-file", 30)
    assert done.status == 0, done.err
    assert "92 segments made, 0 were there; rgb 64, flow 64, views 1x1" in done.out
    return out


def test_index_holds_every_segment_once_and_what_made_it(features: Path, run: Path) -> None:
    index = json.loads((features / "index.json").read_text())
    ids = [name for shard in index["shards"] for name in shard["narration_ids"]]
    assert len(ids) == len(set(ids)) == 92
    assert [len(shard["narration_ids"]) for shard in index["shards"]] == [30, 30, 30, 2]
    assert index["made_by"]["recipe"]["model"]["name"] == "i3d"
    assert {"model", "commit", "views", "checkpoint_sha256"} <= set(index["made_by"])
    first = load_file(features / index["shards"][0]["file"])
    assert {name: tuple(x.shape) for name, x in first.items()} == {"rgb": (30, 64), "flow": (30, 64)}


def test_features_are_what_the_heads_of_the_model_read(
    command, features, kitchens: Path, run: Path, work: Path
) -> None:
    """Heads of the run on the stored features give the run's own predictions."""
    from epicsub.predictions import Predictions, read_predictions

    done = command("predict", run, "--split", "test", "--protocol", "small.yaml", "--data", kitchens, "-o", "own.npz")
    assert done.status == 0, done.err
    own = read_predictions(work / "own.npz")
    weights = torch.load(run / "last.pth", weights_only=True)["model"]
    from epicsub.data.features.store import open_features

    tables = open_features({"rgb": features, "flow": features})
    logits = {"verb": 0.0, "noun": 0.0}
    for name, table in tables.items():
        x_ND = table.select(list(own.narration_ids)).in_memory
        for task in logits:
            head = f"streams.{name}.{task}_head"
            logits[task] = logits[task] + x_ND @ weights[f"{head}.weight"].T + weights[f"{head}.bias"]
    again = Predictions.from_scores(own.narration_ids, logits["verb"].numpy(), logits["noun"].numpy())
    assert abs(again.verb_logprobs - own.verb_logprobs).max() < 1e-4
    assert abs(again.noun_logprobs - own.noun_logprobs).max() < 1e-4


def test_views_become_times(command, kitchens: Path, run: Path, work: Path) -> None:
    words = ["data", "features", run, "--data", kitchens, "-o", "views", "--list", "EPIC_100_test_timestamps.csv"]
    done = command(*words, "--tta", "3x1")
    assert done.status == 0, done.err
    (shard,) = (work / "views").glob("*.safetensors")
    assert load_file(shard)["flow"].shape == (20, 3, 64)
    other = command(*words, "--tta", "1x1")
    assert other.status == 2
    assert 'holds features made otherwise: views ("3x1", now "1x1")' in other.err
    again = command(*words, "--tta", "3x1")
    assert "0 segments made, 20 were there" in again.out


def test_a_killed_extraction_goes_on_to_the_same_features(
    command, features, kitchens: Path, run: Path, work: Path
) -> None:
    lists = ["--list", "EPIC_100_train.csv"]
    words = ["data", "features", str(run), "--data", str(kitchens), "-o", "killed", "--per-file", "4", *lists]
    process = subprocess.Popen(
        [sys.executable, "-m", "epicsub", *words], cwd=work, env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (work / "killed" / "index.json").is_file():
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(json.loads((work / "killed" / "index.json").read_text())["shards"]) * 4
    assert 0 < kept < 48
    done = command(*words)
    assert f"{48 - kept} segments made, {kept} were there" in done.out
    from epicsub.data.features.store import open_features

    whole, parts = (open_features({"rgb": place})["rgb"] for place in (features, work / "killed"))
    ids = list(parts._rows)
    torch.testing.assert_close(parts.select(ids).in_memory, whole.select(ids).in_memory, rtol=1e-4, atol=1e-5)


def test_status_says_whether_a_recipe_has_its_features(command, features, kitchens: Path) -> None:
    there = command("data", "status", "recipes/tiny/features_mmir.yaml", "--data", kitchens)
    assert there.status == 0, there.err
    assert f"features of 92 segments are read from {features}" in there.out
    assert "no rgb features" not in there.out


@pytest.mark.parametrize("method", ["mmir", "source_only"])
def test_train_validate_predict_submit_on_features(command, features, kitchens: Path, work: Path, method: str) -> None:
    short = [word for word in SHORT if method == "mmir" or "target_batch" not in word]
    out = work / "outputs" / f"features_{method}"
    done = command("train", f"recipes/tiny/features_{method}.yaml", *short, "--data", kitchens, "--out", out)
    assert done.status == 0, done.err
    assert "are read from" in done.err
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 10))
    assert ("loss_alignment" in lines[-1]) == (method == "mmir")
    scored = command("validate", out, "--data", kitchens)
    assert scored.status == 0, scored.err
    sent = command("submit", out, "--data", kitchens, "--name", f"features_{method}")
    assert sent.status == 0, sent.err
    assert "20 segments, 1 member; all three files reopened and checked: good" in sent.out
    views = command("predict", out, "--split", "test", "--data", kitchens, "--tta", "3x1", "-o", "no.npz")
    assert views.status == 2
    assert "features, which were made of their views: ask for 1x1" in views.err


def test_a_run_on_features_goes_on_to_the_bit(command, features, kitchens: Path, work: Path) -> None:
    def train(out: str, *more: str):
        return command("train", "recipes/tiny/features_mmir.yaml", *SHORT, *more, "--data", kitchens, "--out", out)

    assert train("outputs/whole").status == 0
    from epicsub.training import loop

    with pytest.MonkeyPatch.context() as patch:

        def stop(*arguments):
            if arguments[3].step == 6:
                raise KeyboardInterrupt
            return real(*arguments)

        real = loop.train_step
        patch.setattr(loop, "train_step", stop)
        assert train("outputs/stopped").status == 130
    resumed = train("outputs/stopped")
    assert resumed.status == 0, resumed.err
    assert "resuming from step 6 of 9" in resumed.err
    ends = [torch.load(work / "outputs" / name / "last.pth", weights_only=True) for name in ("whole", "stopped")]
    for key, value in ends[0]["model"].items():
        assert torch.equal(value, ends[1]["model"][key]), key
    assert (work / "outputs/whole/metrics.jsonl").read_text() == (work / "outputs/stopped/metrics.jsonl").read_text()


def test_wrong_features_are_refused_before_anything_starts(command, features, kitchens: Path) -> None:
    short = [word for word in SHORT if "dims" not in word]
    words = ["train", "recipes/tiny/features_mmir.yaml", *short, "--data", kitchens, "--out", "outputs/no"]
    refused = command(*words, "model.dims={rgb: 64, flow: 100}")
    assert refused.status == 2
    assert "command line  model.dims.flow: is 100, but the features in" in refused.err
    assert "have 64 entries" in refused.err
    refused = command(*words, "data.source=[source_heldout.csv]")
    assert refused.status == 2
    assert "no rgb features for 12 segments: " in refused.err
    refused = command(*words, "data.features=features/none")
    assert refused.status == 2
    assert "features/none: no such folder or file of features" in refused.err
