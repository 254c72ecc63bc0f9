"""Finding files in the layouts that there are."""

import pytest

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.errors import DataError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    "name",
    ["P01/P01_01.MP4", "P01/P01_01.mp4", "P01/P01_01.Mkv", "P01/P01_01.avi", "P01/videos/P01_01.MP4", "P01_01.mov"],
)
def test_video_layouts(tmp_path, name):
    file = touch(tmp_path / "videos" / name)
    touch(tmp_path / "videos" / "P01" / "P01_011.mp4")
    touch(tmp_path / "videos" / "P01" / "P01_01.txt")
    assert DataRoot(tmp_path).video("P01_01") == file
    assert DataRoot(tmp_path).video("P01_02") is None
    assert DataRoot(tmp_path).video("P02_01") is None


def test_flow_and_frames(tmp_path):
    root = DataRoot(tmp_path)
    assert root.found("P01_01", "flow") is None
    tar = touch(tmp_path / "flow_frames" / "P01" / "P01_01.tar")
    assert root.found("P01_01", "flow") == tar
    flow = touch(tmp_path / "flow" / "P01" / "P01_01.mp4")
    assert root.found("P01_01", "flow") == flow  # one file before many
    folder = touch(tmp_path / "rgb_frames" / "P01" / "rgb_frames" / "P01_01" / "frame_0000000001.jpg").parent
    assert root.found("P01_01", "rgb") == folder
    video = touch(tmp_path / "videos" / "P01" / "P01_01.MP4")
    assert root.found("P01_01", "rgb") == video
    with pytest.raises(ValueError, match="sound"):
        root.found("P01_01", "sound")


def test_missing_counts_segments(tmp_path):
    touch(tmp_path / "videos" / "P01" / "P01_01.MP4")
    segments = [Segment(f"{video}_{n}", "P01", video, 0, 1, 1, 2, None, None) for video, n in
                (("P01_02", 0), ("P01_01", 0), ("P01_02", 1))]  # fmt: skip
    problems = DataRoot(tmp_path).missing(segments, ["rgb", "flow"])
    assert [problem.split(" (")[0] for problem in problems] == [
        "P01_01: no flow for 1 segment",
        "P01_02: no rgb for 2 segments",
        "P01_02: no flow for 2 segments",
    ]
    assert f"{tmp_path}/videos/P01/P01_02.MP4" in problems[1]
    assert DataRoot(tmp_path).missing(segments[1:2], ["rgb"]) == []


def test_annotations(tmp_path):
    root = DataRoot(tmp_path)
    with pytest.raises(DataError, match=r"annotations: no such folder, so no EPIC_100_train\.csv; .*--data DIR"):
        root.annotations("EPIC_100_train.csv")
    table = touch(tmp_path / "annotations" / "UDA_annotations" / "source.csv")
    assert root.annotations("UDA_annotations/source.csv") == table
    with pytest.raises(DataError, match=r"no such file; there are: UDA_annotations/source\.csv"):
        root.annotations("EPIC_100_train.csv")
