"""Models at the command line: clips that a network cannot take, and checkpoints of the first model."""

from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet18

from tests.cli.conftest import Call


def test_a_network_that_cannot_take_the_clips_is_refused_before_anything_starts(command: Call, kitchens: Path) -> None:
    for name, wrong, problem in (
        (
            "slowfast",
            "data.frames=6",
            "data.frames: is 6, must be at least 8: slowfast shares them between two pathways",
        ),
        ("mvit_v2", "data.size=56", "data.size: is 56, must be a multiple of 32: mvit_v2 embeds patches"),
        ("videomae", "data.frames=9", "data.frames: is 9, must be a multiple of 2: videomae cuts clips into tubes"),
    ):
        refused = command("train", f"recipes/tiny/{name}.yaml", wrong, "--data", kitchens, "--out", "outputs/never")
        assert (refused.status, problem in refused.err) == (2, True), refused.err


def test_a_checkpoint_of_the_first_model_is_taken_over_and_scored(command: Call, kitchens: Path, work: Path) -> None:
    torch.manual_seed(0)
    backbone = resnet18()
    backbone.fc = nn.Identity()
    parts = {"backbone": backbone, "temporal": nn.LSTM(512, 4, 2, batch_first=True, bidirectional=True)}
    parts |= {"verb_head": nn.Linear(8, 97), "noun_head": nn.Linear(8, 300)}
    torch.save({"epoch": 3, "model_state_dict": nn.ModuleDict(parts).state_dict()}, work / "best_model.pth")
    settings = ("model.backbone=resnet18", "model.hidden=4", "data.size=32", "data.short_side=36", "data.workers=0")
    for recipe, out in (("resnet_bilstm_32", "outputs/of_32_frames"), ("resnet_bilstm", "outputs/first")):
        taken = ("adopt", "best_model.pth", f"recipes/{recipe}.yaml", *settings, "--out", out)
        assert command(*taken).status == 0
        scored = command("validate", out, "--protocol", "small.yaml", "--data", kitchens)
        assert scored.status == 0, scored.err
        assert "coverage: 24 of 24 segments" in scored.out
    again = command(*taken)
    assert (again.status, "holds a run already" in again.err) == (2, True)
    other = command("adopt", "best_model.pth", "recipes/x3d.yaml", "--out", "outputs/other")
    assert (other.status, "ActionModel is a frame_lstm of rgb alone" in other.err) == (2, True)
