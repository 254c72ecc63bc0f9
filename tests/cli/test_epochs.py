"""A stage that says its length in epochs has as many steps as its clips need, from the first trial to a resumed run."""

import json
from pathlib import Path

import pytest
import torch
import yaml

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

RECIPE = "recipes/tiny/features_adversarial.yaml"
EPOCHS = [  # 48 segments: 1.5 epochs of 10 clips are 7.2 steps, 2 of 12 are 8
    "train.stages.0={epochs: 1.5, learning_rate: 1e-3, source_batch: 10, schedule: cosine, warmup_steps: 2}",
    "train.stages.1={epochs: 2, learning_rate: 1e-3, source_batch: 12, target_batch: 12}",
    "train.log_every=1", "train.checkpoint_every=100",
]  # fmt: skip


def test_epochs_are_counted_in_segments_and_told(command, features_root: Path, tmp_path: Path) -> None:
    words = [RECIPE, *EPOCHS, "--data", features_root, "--out", tmp_path / "run"]
    dry = command("train", *words, "--dry-run")
    assert dry.status == 0, dry.err
    assert "stage 1: 8 steps, 80 labelled clips, 1.7 times each segment" in dry.out
    assert "stage 2: 8 steps, 96 labelled clips, 2.0 times each segment" in dry.out
    done = command("train", *words)
    assert done.status == 0, done.err
    assert "stage 1: 1.5 epochs of 48 segments, 10 per step, are 8 steps" in done.err
    assert "stage 2: 2 epochs of 48 segments, 12 per step, are 8 steps" in done.err
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["stage"]) for line in lines] == [(n, 1 + (n > 8)) for n in range(1, 17)]
    rates = [line["learning_rate"] for line in lines[:8]]
    assert rates[:3] == pytest.approx([5e-4, 1e-3, 1e-3])  # warm-up over two steps, then the cosine over six
    assert rates[-1] == pytest.approx(1e-3 * 0.5 * (1 + torch.cos(torch.tensor(5 / 6 * torch.pi)).item()))
    kept = torch.load(tmp_path / "run/last.pth", weights_only=True)
    assert (kept["step"], kept["steps"]) == (16, 16)
    assert [
        stage["steps"] for stage in yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["train"]["stages"]
    ] == [8, 8]
    again = command("train", *words)
    assert again.status == 0, again.err
    assert "resuming from step 16 of 16" in again.err


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["train.stages.0.epochs=2"], "train.stages.0.epochs: is 2.0, but steps is 100: write one of them"),
        (["train.stages.0.steps=null"], "train.stages.0.steps: missing, it must be given, or epochs: Optimiser steps"),
        (
            ["train.stages.0.steps=null", "train.stages.0.epochs=0"],
            "train.stages.0.epochs: is 0, must be greater than 0",
        ),
        (
            ["train.stages.0.steps=null", "train.stages.0.epochs=1", "train.stages.0.warmup_steps=2"],
            "train.stages.0.warmup_steps: is 2, must be below the stage's steps (2)",  # 48 segments, 40 a step
        ),
    ],
)
def test_lengths_that_do_not_fit_are_refused(
    command, features_root: Path, tmp_path: Path, change: list[str], problem: str
) -> None:
    done = command("train", RECIPE, *change, "--data", features_root, "--out", tmp_path / "run")
    assert done.status == 2
    assert problem in done.err
