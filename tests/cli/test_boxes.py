"""epicsub data boxes, as a user meets it."""

import pickle
from pathlib import Path

from epicsub.data.boxes.convert import find_sources
from epicsub.data.boxes.detections import FrameDetections, Hand, Thing
from epicsub.data.boxes.official import Message, write_message
from tests.cli.conftest import Call

FOUND = FrameDetections([Hand((0.1, 0.2, 0.3, 0.4), 0.9, 3, (0.1, 0.1), 1)], [Thing((0.2, 0.3, 0.4, 0.5), 0.9)])


def write_official(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps([write_message(Message(path.stem, n + 1, FOUND)) for n in range(frames)]))


def test_both_layouts_and_the_folder_itself(command: Call, tmp_path: Path) -> None:
    places = ("hand-objects/P01/P01_01.pkl", "P02/hand-objects/P02_01.pkl", "hand-objects/P03/hand-objects/P03_01.pkl")
    for place in places:
        write_official(tmp_path / place, 1)
    (tmp_path / "P01").mkdir()
    (tmp_path / "P01" / "P01_01.pkl").symlink_to(tmp_path / places[0])  # the same file is no second one
    assert sorted(find_sources(tmp_path)) == ["P01_01", "P02_01", "P03_01"]
    assert sorted(find_sources(tmp_path / "hand-objects")) == ["P01_01", "P03_01"]
    root = tmp_path / "root"
    done = command("data", "boxes", "--data", root, "--from", tmp_path)
    assert done.status == 0, done.err
    assert "3 videos converted, 0 were there" in done.out
    write_official(tmp_path / "P01" / "hand-objects" / "P01_01.pkl", 2)
    done = command("data", "boxes", "--data", root, "--from", tmp_path)
    assert done.status == 2
    assert "several files for one video" in done.err
    empty = command("data", "boxes", "--data", tmp_path / "empty")
    assert empty.status == 2
    assert "--from DIR" in empty.err
