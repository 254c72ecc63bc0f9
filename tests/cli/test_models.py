"""Every tiny recipe of a model trains ten steps, is scored, and predicts."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from epicsub.predictions import load_predictions
from tests.cli.conftest import Call

RECIPES = (
    "frame_mean", "resnet_bilstm", "frame_transformer", "frame_multiscale", "slowfast", "x3d", "i3d_r50", "r2plus1d",
    "mvit_v2", "video_swin", "timesformer", "videomae",
)  # fmt: skip
TEN = [
    "train.stages.0.steps=10", "train.stages.0.source_batch=4", "train.stages.0.warmup_steps=2", "train.log_every=5",
    "train.checkpoint_every=10", "data.workers=0", "evaluation.batch_size=12",
]  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_ten_steps_scores_and_predictions(command: Call, kitchens: Path, work: Path, name: str) -> None:
    run = f"outputs/ten_{name}"
    short = ["data.frames=4"] if name == "r2plus1d" else []  # it comes in one width, which is slow here
    trained = command("train", f"recipes/tiny/{name}.yaml", *TEN, *short, "--data", kitchens, "--out", run)
    assert trained.status == 0, trained.err
    scored = command("validate", run, "--protocol", "small.yaml", "--data", kitchens)
    assert scored.status == 0, scored.err
    assert scored.out.startswith("coverage: 24 of 24 segments")
    made = command(
        "predict", run, "--split", "test", "-o", f"{run}/test.npz", "--protocol", "small.yaml", "--data", kitchens
    )
    assert made.status == 0, made.err
    assert len(load_predictions(work / run / "test.npz")) == 20


def test_a_network_that_cannot_take_the_clips_is_refused_before_anything_starts(command: Call, kitchens: Path) -> None:
    for name, wrong, said in (
        ("slowfast", "data.frames=6", "recipes/tiny/slowfast.yaml:29  model: slowfast shares its frames"),
        ("mvit_v2", "data.size=56", "mvit takes an even number of frames and a multiple of 32 pixels, not 8 and 56"),
        ("videomae", "data.frames=9", "videomae reads tubes of two frames: an even number, not 9"),
    ):
        refused = command("train", f"recipes/tiny/{name}.yaml", wrong, "--data", kitchens, "--out", "outputs/never")
        assert (refused.status, said in refused.err) == (2, True), refused.err


def test_a_checkpoint_of_the_first_model_is_taken_over_and_scored(command: Call, kitchens: Path, work: Path) -> None:
    torch.manual_seed(0)
    backbone = resnet18()
    backbone.fc = nn.Identity()
    parts = {"backbone": backbone, "temporal": nn.LSTM(512, 4, 2, batch_first=True, bidirectional=True)}
    parts |= {"verb_head": nn.Linear(8, 97), "noun_head": nn.Linear(8, 300)}
    torch.save({"epoch": 3, "model_state_dict": nn.ModuleDict(parts).state_dict()}, work / "best_model.pth")
    settings = ("model.backbone=resnet18", "model.hidden=4", "data.size=32", "data.short_side=36", "data.workers=0")
    taken = ("adopt", "best_model.pth", "recipes/resnet_bilstm.yaml", *settings, "--out", "outputs/first")
    assert command(*taken).status == 0
    scored = command("validate", "outputs/first", "--protocol", "small.yaml", "--data", kitchens)
    assert scored.status == 0, scored.err
    assert "coverage: 24 of 24 segments" in scored.out
    again = command(*taken)
    assert (again.status, "holds a run already" in again.err) == (2, True)
    other = command("adopt", "best_model.pth", "recipes/x3d.yaml", "--out", "outputs/other")
    assert (other.status, "ActionModel is a frame_lstm of rgb alone" in other.err) == (2, True)
