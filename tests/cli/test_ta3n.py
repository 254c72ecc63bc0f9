"""TA3N through the command line: features of five clips per segment, training on them, a score."""

import json

import pytest

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

SETTINGS = [
    "train.stages.0.steps=4", "train.stages.0.source_batch=8", "train.stages.0.target_batch=6", "train.log_every=1",
    "model.dims={rgb: 64, flow: 64}", "data.features=features/five",
]  # fmt: skip


def test_ta3n_learns_from_features_with_a_time_axis(command, kitchens, run) -> None:
    made = command("data", "features", run, "--tta", "5x1", "--data", kitchens, "-o", kitchens / "features" / "five")
    assert made.status == 0, made.err
    done = command("train", "recipes/tiny/ta3n.yaml", *SETTINGS, "--data", kitchens, "--out", "outputs/ta3n")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (command.folder / "outputs/ta3n/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    logged = {"rgb/loss_frame", "flow/loss_relation", "rgb/loss_video", "attentive_entropy", "reversal"}
    assert logged <= lines[-1].keys()
    scored = command("validate", "outputs/ta3n", "--protocol", "small.yaml", "--data", kitchens, "--device", "cpu")
    assert scored.status == 0, scored.err
    assert "24 of 24" in scored.out
