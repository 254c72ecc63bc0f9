"""Weights are looked up before a run starts."""

from pathlib import Path

import pytest
import torch

from epicsub.errors import ModelError
from epicsub.recipe import load_recipe
from epicsub.training.preflight import _find_timm_weights, _precision_problems, clip_notes


def test_timm_weights_are_found_without_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resnet18.a1_in1k.safetensors").touch()
    monkeypatch.setenv("EPICSUB_WEIGHTS", str(tmp_path))
    assert _find_timm_weights("resnet18.a1_in1k") == tmp_path / "resnet18.a1_in1k.safetensors"
    assert _find_timm_weights("resnet18") == tmp_path / "resnet18.a1_in1k.safetensors"


@pytest.mark.parametrize("name", ["resnet1", "resnet18.nowhere"])
def test_a_backbone_that_timm_has_not(name: str) -> None:
    with pytest.raises(ModelError, match=name):
        _find_timm_weights(name)


@pytest.mark.parametrize("found", [False, True])
def test_half_precision_needs_a_device_that_has_it(
    found: bool, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    path = repository / "recipes" / "tiny" / "source_only.yaml"
    loaded = load_recipe(path, ["train.precision=16-mixed", "train.accelerator=auto"])
    problems = _precision_problems(loaded)
    assert len(problems) == (0 if found else 1)
    assert found or "train.precision: is 16-mixed, but train.accelerator auto finds a cpu alone" in problems[0]
    assert _precision_problems(load_recipe(path, ["train.precision=bf16-mixed"])) == []


def test_clips_of_another_pace_than_the_published_files_are_told(repository: Path) -> None:
    recipes = repository / "recipes"
    told = clip_notes(load_recipe(recipes / "i3d_r50.yaml").recipe)
    assert told == [
        "model.weights.rgb: i3d_r50_kinetics was trained on 8 frames 0.267 s apart, this recipe cuts 8, 0.133 s apart"
    ]
    assert clip_notes(load_recipe(recipes / "i3d_r50.yaml", ["data.stride=0.2666667"]).recipe) == []
    spread = load_recipe(recipes / "i3d_r50.yaml", ["data.sampling=uniform", "data.stride=null", "data.frames=16"])
    assert clip_notes(spread.recipe)[0].endswith("this recipe cuts 16, spread over the segment")
    assert len(clip_notes(load_recipe(recipes / "mmir_i3d.yaml").recipe)) == 2
    for without in ("frame_mean", "mmir_features", "tiny/i3d_r50"):
        assert clip_notes(load_recipe(recipes / f"{without}.yaml").recipe) == []
