"""On a CUDA device: the same losses and predictions as on the CPU, mixed precision, augmentation on the device."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from epicsub.predictions import read_predictions
from tests.cli.conftest import Call

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.xdist_group("cli"),
]


@pytest.fixture(autouse=True)
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32 proper: TF32 has three digits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


def trained(command: Call, kitchens: Path, work: Path, name: str, *settings: str) -> list[dict]:
    """Train the tiny MMIR recipe for a few steps; its lines of metrics.jsonl."""
    folder = work / "outputs" / name
    done = command("train", "recipes/tiny/mmir_i3d.yaml", *settings, "--data", kitchens, "--out", folder)
    assert done.status == 0, done.err
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_losses_are_those_of_the_cpu(command: Call, kitchens: Path, work: Path, short: list[str]) -> None:
    still = ["model.dropout=0", "train.precision=32-true"]  # dropout draws other masks on another device
    cpu = trained(command, kitchens, work, "on_cpu", *short, *still, "train.accelerator=cpu")
    cuda = trained(command, kitchens, work, "on_cuda", *short, *still, "train.accelerator=cuda")
    assert [line["step"] for line in cuda] == [line["step"] for line in cpu]
    for here, there in zip(cpu[:3], cuda[:3], strict=True):  # later, roundings have grown through Adam
        assert there["loss_classification"] == pytest.approx(here["loss_classification"], rel=5e-3)


def test_two_runs_are_equal_to_the_bit(command: Call, kitchens: Path, work: Path, short: list[str]) -> None:
    changes = ["train.deterministic=true", "train.precision=bf16-mixed", "train.accelerator=cuda"]
    for name in ("one", "other"):
        trained(command, kitchens, work, f"bits_{name}", *short, *changes)
    one, other = (
        torch.load(work / "outputs" / f"bits_{name}" / "last.pth", weights_only=True)["model"]
        for name in ("one", "other")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_predictions_are_those_of_the_cpu(command: Call, kitchens: Path, work: Path, run: Path) -> None:
    made = {}
    for device in ("cpu", "cuda"):
        shutil.copy(run / "last.pth", work / f"{device}.pth")
        words = ("--split", "validation", "--protocol", "small.yaml", "-o", f"{device}.npz", "--data", kitchens)
        done = command("predict", f"{device}.pth", *words, "--device", device)
        assert done.status == 0, done.err
        made[device] = read_predictions(work / f"{device}.npz")
    np.testing.assert_allclose(made["cuda"].verb_logprobs, made["cpu"].verb_logprobs, atol=1e-3)
    np.testing.assert_allclose(made["cuda"].noun_logprobs, made["cpu"].noun_logprobs, atol=1e-3)


def test_bfloat16_with_augmentation_on_the_device(command: Call, kitchens: Path, work: Path, short: list[str]) -> None:
    changes = ["data.augment.color_jitter=0.4", "data.augment.erase=0.5", "train.precision=bf16-mixed"]
    workers = [setting for setting in short if not setting.startswith("data.workers")]  # the recipe's two
    lines = trained(command, kitchens, work, "bf16", *workers, *changes, "train.accelerator=cuda")
    losses = [line["loss_classification"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 12
    assert all(map(math.isfinite, losses))
