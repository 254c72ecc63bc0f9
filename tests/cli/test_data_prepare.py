"""epicsub data prepare, and a run that reads what it made."""

import re
import shutil
from pathlib import Path


def test_prepared_and_read(command, kitchens, run, tmp_path: Path) -> None:
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    planned = command("data", "prepare", "--data", root, "--plan")
    assert planned.status == 0, planned.err
    assert "92 segments of" in planned.out
    assert re.search(r"to do: about \d+\.\d MB; all segments at that rate: \d+\.\d MB", planned.out)
    assert not (root / "prepared").exists()
    done = command("data", "prepare", "--data", root, "--workers", 1)
    assert done.status == 0, done.err
    assert "rgb: " in done.out
    assert re.search(r"rgb: 8 videos prepared, \d+\.\d MB", done.out)
    again = command("data", "prepare", "--data", root)
    assert "rgb: nothing to do\nflow: nothing to do" in again.out
    for name in ("videos", "flow"):
        shutil.rmtree(root / name)
    scored = command("validate", run, "--protocol", "small.yaml", "--data", root)
    assert scored.status == 0, scored.err
    assert "rgb is read from prepared/ (short side 256, crf 20); flow is read from prepared/ (crf 20)" in scored.err


def test_no_room_and_no_sense(command, kitchens) -> None:
    refused = command("data", "prepare", "--data", kitchens, "--short-side", 3)
    assert refused.status == 2
    assert "short_side=3: 16 pixels or more" in refused.err
    missing = command("data", "prepare", "--data", kitchens, "--list", "none.csv")
    assert missing.status == 2
    assert "EPIC_100_train.csv" in missing.err
