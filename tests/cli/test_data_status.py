"""epicsub data status."""

import re
import shutil
from pathlib import Path

import pandas as pd
import torch

from epicsub.data.features.store import FeatureStore


def test_one_screen(command, kitchens: Path, tmp_path: Path) -> None:
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    recipe = "recipes/tiny/mmir_i3d.yaml"
    whole = command("data", "status", recipe, "--data", root)
    assert whole.status == 0, whole.err
    assert "EPIC_100_train.csv 48" in whole.out
    assert "rgb: originals complete, prepared store lacks" in whole.out
    assert "rgb is read from the originals" in whole.out
    shutil.rmtree(root / "flow")
    gone = next((root / "videos").rglob("*.MP4"))
    gone.unlink()
    assert command("data", "prepare", "--modality", "rgb", "--data", root, "--workers", 1).status == 0
    part = command("data", "status", recipe, "--data", root)
    assert "rgb: originals lack 1 of" in part.out
    assert "flow: originals lack" in part.out
    listed = set((root / "prepared/rgb").rglob("*.index"))
    assert re.search(rf"prepared/rgb +│ {len(listed)} of 9 \(", part.out)
    assert len(part.out.splitlines()) < 25
    segments = pd.read_csv(root / "annotations/EPIC_100_train.csv")
    FeatureStore(root / "features/own", {}).add(list(segments.narration_id[:3]), {"rgb": torch.zeros(3, 4)})
    (root / "features/others.pkl").write_bytes(b"not opened")
    made = command("data", "status", "--data", root)
    assert re.search(r"│ features/own +│ 1 of 9 \(", made.out)
    assert "3 of 104 (2.9 %)" in made.out
    assert re.search(r"features/others\.pkl +│  ", made.out)


def test_without_anything(command, tmp_path: Path) -> None:
    done = command("data", "status", "--data", tmp_path)
    assert done.status == 0
    assert "0 segments of 0 videos (no lists of segments)" in done.out
    lines = command("data", "status", "recipes/tiny/mmir_i3d.yaml", "--data", tmp_path)
    assert lines.status == 0
    assert "no such folder, so no EPIC_100_train.csv" in lines.out
