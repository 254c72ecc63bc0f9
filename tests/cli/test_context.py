"""data.context: clips of short segments take in the video around them, from the originals and from the store."""

import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("cli")

RGB = [
    "train", "recipes/tiny/source_only.yaml", "data.modalities=[rgb]", "model.weights={rgb: null}", "data.workers=0",
    "model.width=0.0625", "train.stages.0.steps=2", "train.stages.1.steps=1", "train.stages.0.source_batch=6",
    "train.stages.1.source_batch=6", "evaluation.protocol=small.yaml", "data.frames=40",
]  # fmt: skip


def test_short_segments_take_in_what_is_around_them(command, kitchens: Path, tmp_path: Path) -> None:
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    plain = command(*RGB, "--data", root, "--out", tmp_path / "plain")
    assert plain.status == 0, plain.err
    shorter = int(re.search(r"of 48 segments (\d+) are shorter than a clip", plain.out)[1])
    assert shorter > 5
    done = command(*RGB, "data.context=5.0", "--data", root, "--out", tmp_path / "context")
    assert done.status == 0, done.err
    assert f"{shorter} segments shorter than a clip take in what is around them" in done.out
    left = int(re.search(r"of 48 segments (\d+) are shorter than a clip", done.out)[1])
    assert left < shorter

    assert command("data", "prepare", "--data", root, "--modality", "rgb", "--margin", 0, "--workers", 1).status == 0
    stored = ("data.context=5.0", "data.store=prepared", "--data", root)
    refused = command(*RGB, *stored, "--out", tmp_path / "refused")
    assert refused.status == 2
    assert "the prepared store is not complete" in refused.err
    again = command("data", "prepare", "--data", root, "--modality", "rgb", "--margin", 5, "--workers", 1)
    assert again.status == 0
    read = command(*RGB, *stored, "--out", tmp_path / "read")
    assert read.status == 0, read.err
