"""What `epicsub data check --deep` remembers: it resumes after a kill, and notices whatever changed since."""

from pathlib import Path

import pytest

from epicsub.data import check as checkup
from epicsub.data.annotations import Segment
from epicsub.data.check import check_data
from epicsub.data.check.files import check_file
from epicsub.data.flow.compute import compute_flow
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot

from .sparse import write_jpegs

LISTED = {"one.csv": [Segment(f"P01_0{n}_0", "P01", f"P01_0{n}", 0.0, 0.3, 1, 2, 0, 0) for n in (1, 2)]}
TABLE = "video_id,duration,fps,resolution\nP01_01,{:.3f},59.94,100x80\nP01_02,0.334,59.94,100x80\n"


@pytest.fixture
def root(tmp_path, make_video):
    """Two videos of 20 frames, the first one's flow as extracted frames, the other's as epicsub's own file."""
    for number in (1, 2):
        make_video(tmp_path / f"videos/P01/P01_0{number}.MP4", 20)
    write_jpegs(tmp_path / "flow_frames/P01/P01_01", {n: n for n in range(10)}, base=1, flow=True)
    compute_flow(tmp_path / "videos/P01/P01_02.MP4", tmp_path / "flow/P01/P01_02.mp4", "P01_02")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/EPIC_100_video_info.csv").write_text(TABLE.format(0.334))
    root = DataRoot(tmp_path)
    prepare(make_plan(root, LISTED["one.csv"], "rgb", Settings(40, 20, 0.1)), root, workers=1)
    return root


@pytest.fixture
def looked(monkeypatch):
    """The files that are decoded, by their names."""
    names = []
    monkeypatch.setattr(checkup, "check_file", lambda look: names.append(look.path.name) or check_file(look))
    return names


def check(root):
    return check_data(root, LISTED, ["rgb", "flow"], 0.1, deep=True, workers=1)


JPEG = "flow_frames/P01/P01_01/u/frame_0000000005.jpg"


def another_video(path):
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("file", "change", "again", "words"),
    [
        (JPEG, Path.unlink, ["P01_01"], "lacks 1 frame between its first and last"),
        (JPEG, lambda path: path.write_bytes(b""), ["P01_01"], "is no readable JPEG"),
        (
            "videos/P01/P01_02.MP4",
            another_video,
            ["P01_02.MP4", "P01_02.mp4"],
            "was computed from another file than P01_02.MP4",
        ),
        (
            "prepared/rgb/P01/P01_01.index",
            lambda path: path.write_bytes(b"{}" + path.read_bytes()[2:]),
            ["P01_01.index"],
            "incomplete cache entry",
        ),
        (
            "annotations/EPIC_100_video_info.csv",
            lambda path: path.write_text(TABLE.format(9.0)),
            ["P01_01", "P01_01.MP4"],
            "lasts 0.33 s, 9.00 s in EPIC_100_video_info.csv",
        ),
    ],
)
def test_what_changed_since_is_looked_at_again_and_nothing_else(root, looked, file, change, again, words):
    first = check(root)
    assert first.fine
    assert len(looked) == 6
    assert check(root).as_json() == first.as_json()
    change(root.path / file)
    found = check(root)
    assert sorted(looked[6:]) == again
    assert any(words in text for report in found.files for text in [*report.problems, *report.notes])


def test_it_goes_on_after_a_kill(root, looked):
    first = check(root)
    memory = root.path / "checked.jsonl"
    lines = memory.read_text().splitlines(keepends=True)
    memory.write_text("".join(lines[:4]) + lines[4][: len(lines[4]) // 2])  # killed while writing the fifth
    assert check(root).as_json() == first.as_json()
    assert len(looked) == 6 + 2
    assert check(root).as_json() == first.as_json()  # the fifth was not written onto the half line
    assert len(looked) == 6 + 2


def test_the_root_may_be_called_otherwise(root, looked, monkeypatch):
    check(root)
    monkeypatch.chdir(root.path.parent)
    found = check(DataRoot(Path(root.path.name)))
    assert len(looked) == 6
    assert {Path(report.path).parts[0] for report in found.files} == {root.path.name}
