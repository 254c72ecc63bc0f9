"""What `epicsub export` writes gives the model's logits, and refuses what it cannot write."""

import sys
from pathlib import Path

import pytest
import torch

from epicsub.recipe import load_recipe
from epicsub.training import mps
from epicsub.training.build import model_of

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the run for all


@pytest.mark.parametrize(("form", "suffix"), [("onnx", ".onnx"), ("torch", ".pt2")])
def test_a_two_stream_model_is_exported(command, run, tmp_path: Path, form: str, suffix: str) -> None:
    """The command compares the file's logits with the model's, on other clips than it was traced with."""
    done = command("export", run, "--format", form, "--out", tmp_path / f"model{suffix}")
    assert done.status == 0, done.err
    assert "input rgb: uint8 1 x 3 x 16 x 48 x 48" in done.out
    assert float(done.out.split("difference from the model ")[1].split()[0]) <= 1e-4
    assert (tmp_path / f"model{suffix}").stat().st_size > 10_000


def test_what_cannot_be_exported(command, run, tmp_path: Path, monkeypatch) -> None:
    wrong = command("export", run, "--out", tmp_path / "model.bin")
    assert (wrong.status, "ends in .onnx" in wrong.err) == (2, True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    missing = command("export", run, "--out", tmp_path / "model.onnx")
    assert (missing.status, "pip install 'epicsub[onnx]'" in missing.err) == (2, True)
    monkeypatch.undo()
    monkeypatch.setattr("epicsub.api.export.TOLERANCE", -1.0)
    other = command("export", run, "--out", tmp_path / "model.pt2", "--format", "torch")
    assert (other.status, "nothing was written" in other.err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_operations_that_an_apple_gpu_lacks_are_named_before_a_run(command, run, kitchens, monkeypatch) -> None:
    """On a build without Apple kernels every operation of its own is lacking, which shows that all are asked for."""
    recipe = load_recipe("recipes/tiny/source_only.yaml").recipe
    with torch.device("meta"):
        model = model_of(recipe, weights=False)
    names = mps.operations(model, mps.clips_of(recipe, torch.device("meta")), backward=True)
    assert {"aten::convolution", "aten::convolution_backward"} <= {name.partition(".")[0] for name in names}
    assert "aten::max_pool3d_with_indices" in {name.partition(".")[0] for name in names}
    assert mps.lacking(names, "CPU") == []
    monkeypatch.setattr("epicsub.training.device._has_mps", lambda: True)
    monkeypatch.setattr(mps, "lacking", lambda names: ["aten::max_pool3d_with_indices"])
    monkeypatch.delenv(mps.FALLBACK, raising=False)
    done = command("predict", run, "--split", "validation", "--data", kitchens, "--protocol", "small.yaml",
                   "--device", "mps", "-o", "x.npz")  # fmt: skip
    assert done.status == 2
    assert "cannot compute aten::max_pool3d_with_indices on an Apple GPU: PYTORCH_ENABLE_MPS_FALLBACK=1" in done.err
    done = command("train", "recipes/tiny/source_only.yaml", "train.accelerator=mps", "--data", kitchens, "--out", "o")
    assert done.status == 2
    assert "train.accelerator: PyTorch" in done.err
    assert "nothing was started" in done.err


def test_bfloat16_is_for_devices_that_have_it(command, kitchens, monkeypatch) -> None:
    monkeypatch.setattr("epicsub.training.device._has_mps", lambda: True)
    monkeypatch.setattr(mps, "lacking", lambda names: [])
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    words = ("train.accelerator=mps", "train.precision=bf16-mixed")
    done = command("train", "recipes/tiny/source_only.yaml", *words, "--data", kitchens, "--out", "o")
    assert done.status == 2
    assert "train.precision: is bf16-mixed, which this mps device has not" in done.err
