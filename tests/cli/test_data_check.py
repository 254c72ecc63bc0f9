"""epicsub data check, its list of what cannot be read, and runs that leave it out and say so."""

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def part(kitchens: Path, tmp_path: Path) -> Path:
    """The kitchens with one validation video gone and a training video empty."""
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    rows = (root / "annotations/EPIC_100_validation.csv").read_text().splitlines()[1:]
    gone = rows[0].split(",")[2]
    next(root.glob(f"videos/*/{gone}.*")).unlink()
    trained = (root / "annotations/EPIC_100_train.csv").read_text().splitlines()[1].split(",")[2]
    next(root.glob(f"videos/*/{trained}.*")).write_bytes(b"")
    return root


def test_whole_kitchens_are_fine(command, kitchens) -> None:
    done = command("data", "check", "--data", kitchens)
    assert done.status == 0, done.out
    assert "0 with problems" in done.out
    assert done.out.rstrip().endswith("all segments can be read")


def test_what_is_missing_is_reported_and_left_out(command, part, run, short, tmp_path) -> None:
    skip, report = tmp_path / "skip.txt", tmp_path / "check.json"
    refused = command("data", "check", "--data", part, "--json", report)
    assert refused.status == 2
    found = json.loads(report.read_text())
    assert len(found["missing_videos"]["rgb"]) == 1
    assert "the file is empty (0 bytes)" in refused.out
    assert f"{len(found['unreadable_segments'])} segments cannot be read" in refused.out
    written = command("data", "check", "--data", part, "--write-skip", skip)
    assert written.status == 0
    assert len(skip.read_text().splitlines()) == len(found["unreadable_segments"])
    lists = found["lists"]
    lacking = lists["EPIC_100_validation.csv"]["segments"] - lists["EPIC_100_validation.csv"]["read"]
    broken = lists["EPIC_100_train.csv"]["segments"] - lists["EPIC_100_train.csv"]["read"]
    assert lacking > 0
    assert broken > 0

    checked = command("data", "check", "--data", part, "--skip", skip)
    assert checked.status == 0
    assert f"{len(found['unreadable_segments'])} skipped" in checked.out

    whole = command("validate", run, "--protocol", "small.yaml", "--data", part)
    assert whole.status == 2
    assert "epicsub data check --write-skip FILE" in whole.err
    scored = command("validate", run, "--protocol", "small.yaml", "--data", part, "--skip", skip)
    assert scored.status == 0, scored.err
    assert f"{lacking} of 24 segments are named in {skip} and left out" in scored.err
    assert f"coverage: {24 - lacking} of 24" in scored.out

    trained = command(
        "train", "recipes/tiny/mmir_i3d.yaml", *short, f"data.skip={skip}", "--data", part, "--out", tmp_path / "out"
    )
    assert trained.status == 0, trained.err
    assert f"{len(found['unreadable_segments'])} segments are named in {skip} and left out" in trained.err
    assert f"{48 - broken} labelled source segments" in trained.err
