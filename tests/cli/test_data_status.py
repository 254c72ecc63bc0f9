"""epicsub data status."""

import shutil
from pathlib import Path


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
    assert f"prepared/rgb │ {len(listed)} of 9 (" in part.out
    assert len(part.out.splitlines()) < 25


def test_without_anything(command, tmp_path: Path) -> None:
    done = command("data", "status", "--data", tmp_path)
    assert done.status == 0
    assert "0 segments of 0 videos (no lists of segments)" in done.out
    told = command("data", "status", "recipes/tiny/mmir_i3d.yaml", "--data", tmp_path)
    assert told.status == 0
    assert "no such folder, so no EPIC_100_train.csv" in told.out
