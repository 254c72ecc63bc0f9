"""Weights are looked up before a run starts."""

from pathlib import Path

import pytest

from epicsub.errors import ModelError
from epicsub.training.preflight import find_timm_weights


def test_timm_weights_are_found_without_a_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "resnet18.a1_in1k.safetensors").touch()
    monkeypatch.setenv("EPICSUB_WEIGHTS", str(tmp_path))
    assert find_timm_weights("resnet18.a1_in1k") == tmp_path / "resnet18.a1_in1k.safetensors"
    assert find_timm_weights("resnet18") == tmp_path / "resnet18.a1_in1k.safetensors"


@pytest.mark.parametrize("name", ["resnet1", "resnet18.nowhere"])
def test_a_backbone_that_timm_has_not(name: str) -> None:
    with pytest.raises(ModelError, match=name):
        find_timm_weights(name)
