"""What `epicsub data check` finds, each kind of damage made for real."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from epicsub.data.annotations import Segment, VideoInfo
from epicsub.data.check import check_data, lengths_note, short_with_context
from epicsub.data.check.files import FileToCheck, check_file
from epicsub.data.decode.reader import DECODERS, open_reader, why_not
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.errors import DataError

from .sparse import write_jpegs

INFO = VideoInfo(5.005, 60000 / 1001, 100, 80)


def segments(video, *parts):
    return [Segment(f"{video}_{i}", video[:3], video, a, b, 1, 2, 0, 0) for i, (a, b) in enumerate(parts)]


@pytest.fixture
def look(tmp_path, make_video):
    """A report on the one video, written with `change` to its bytes."""

    def report(change=lambda data: data, deep=False, info=INFO, **options):
        path = make_video(tmp_path / "videos/P01/P01_01.MP4", 300, **options)
        path.write_bytes(change(path.read_bytes()))
        return check_file(FileToCheck(tmp_path, "P01_01", "rgb", deep, info))

    return report


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_video(look, deep):
    report = look(deep=deep)
    assert (report.problems, report.notes, report.size) == ([], [], (100, 80))
    assert report.duration == pytest.approx(5.005, abs=0.01)
    assert report.readable_to == pytest.approx(5.005, abs=0.02)


FASTSTART = {"options": {"movflags": "faststart"}}


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda data: b"", {}, "the file is empty (0 bytes)"),
        (lambda data: b"<html>404</html>" * 50, {}, "cannot be opened as a video"),
        (lambda data: data[: len(data) // 2], {}, "cannot be opened as a video"),
        (lambda data: data[: len(data) // 2], FASTSTART, "cut off or damaged, fetch it again"),  # claims what it lacks
        (
            lambda data: data,
            {"info": VideoInfo(9.0, 59.94, 100, 80)},
            "lasts 5.00 s, 9.00 s in EPIC_100_video_info.csv",
        ),
        (lambda data: data, {"info": VideoInfo(2.0, 59.94, 100, 80)}, "another recording"),
    ],
)
def test_a_bad_video(look, change, options, words):
    report = look(change, **options)
    assert any(words in problem for problem in report.problems), report.problems


def test_a_copy_is_noted(look):
    report = look(info=VideoInfo(5.005, 50.0, 1920, 1080))
    assert not report.problems
    assert [note.rsplit(": ", 1)[1] for note in report.notes] == ["a re-encoded copy", "a resized copy"]


def test_damage_in_the_middle_is_found_only_by_the_deep_check(look):
    def holed(data):
        changed = bytearray(data)
        middle = len(data) // 3
        changed[middle : middle + 600] = bytes(600)
        return bytes(changed)

    assert not look(holed).problems
    assert "damaged" in look(holed, deep=True).problems[0]


def test_uneven_frames_are_noted_and_read_by_their_times(tmp_path, read_number):
    from .conftest import numbered_frame

    path = tmp_path / "videos/P01/P01_01.mp4"
    path.parent.mkdir(parents=True)
    stamps = [0, 1, 2, 5, 6, 7, 20, 21, 22, 23, 40, 41]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=50)
        stream.width, stream.height, stream.pix_fmt = 100, 80, "yuv420p"
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 100, 80), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, 50)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    report = check_file(FileToCheck(tmp_path, "P01_01", "rgb", True, None))
    assert not report.problems
    assert "uneven intervals" in report.notes[0]
    for decoder in (name for name in DECODERS if why_not(name) is None):
        shown = open_reader(path, decoder).frames_at(np.array([0.0, 0.05, 0.39, 0.4, 0.7, 0.81])).numpy()
        assert [read_number(frame) for frame in shown] == [0, 2, 5, 6, 9, 10]


@pytest.mark.parametrize("video", ["P01_01", "P01_101"])
def test_extracted_frames(tmp_path, video):
    rate = 50 if video == "P01_101" else 60
    folder = write_jpegs(tmp_path / f"rgb_frames/P01/{video}", {n: n for n in range(rate)}, base=1)
    fits = VideoInfo(1.0, 50.0, 120, 96)
    assert check_file(FileToCheck(tmp_path, video, "rgb", True, fits)).problems == []
    wrong = check_file(FileToCheck(tmp_path, video, "rgb", False, VideoInfo(4.0, 50.0, 120, 96))).problems
    assert wrong == [
        f"holds {rate} frames, about {4 * rate} are expected for 4.00 s at {rate} a second: fetch or unpack it again"
    ]
    (folder / "frame_0000000007.jpg").unlink()
    (folder / "frame_0000000009.jpg").unlink()
    (folder / "frame_0000000012.jpg").write_bytes(b"no picture")
    quick = check_file(FileToCheck(tmp_path, video, "rgb", False, fits)).problems
    assert quick == ["lacks 2 frames between its first and last, from number 7: unpack it again"]
    assert len(check_file(FileToCheck(tmp_path, video, "rgb", True, fits)).problems) == 2


def test_the_known_broken_release_is_named(tmp_path):
    write_jpegs(tmp_path / "rgb_frames/P01/P01_109", {n: n for n in range(5)}, base=1)
    assert "wrong once" in check_file(FileToCheck(tmp_path, "P01_109", "rgb", False, None)).notes[0]


def test_flow_of_another_file(tmp_path, make_video):
    from epicsub.data.flow.compute import compute_flow

    video = make_video(tmp_path / "videos/P01/P01_01.MP4", 20)
    compute_flow(video, tmp_path / "flow/P01/P01_01.mp4", "P01_01")
    assert check_file(FileToCheck(tmp_path, "P01_01", "flow", False, None)).problems == []
    make_video(video, 30)
    assert "computed from another file" in check_file(FileToCheck(tmp_path, "P01_01", "flow", False, None)).problems[0]


LISTED = {
    "one.csv": segments("P01_01", (0.0, 1.0), (0.9, 0.95), (4.0, 5.2)),
    "two.csv": [*segments("P01_02", (0.0, 1.0), (9.0, 9.9)), *segments("P02_01", (1.0, 2.0))],
}


@pytest.fixture
def root(tmp_path, make_video):
    for number in (1, 2):
        make_video(tmp_path / f"videos/P01/P01_0{number}.MP4", 300)
    return DataRoot(tmp_path)


def test_lists_kitchens_and_segments(root):
    found = check_data(root, LISTED, ["rgb"], clip_seconds=0.5, workers=1)
    assert found.missing == {"rgb": ["P02_01"]}
    assert {name: (c.videos, c.videos_here, c.segments, c.read) for name, c in found.lists.items()} == {
        "one.csv": (1, 1, 3, 3), "two.csv": (2, 1, 3, 1),
    }  # fmt: skip
    assert {name: (c.segments, c.read) for name, c in found.kitchens.items()} == {"P01": (5, 4), "P02": (1, 0)}
    assert found.unreadable["P02_01_0"] == "no rgb for video P02_01"
    assert "ends at 9.90 s" in found.unreadable["P01_02_1"]
    assert (found.overrun, found.short, found.overlapping) == (["P01_01_2"], ["P01_01_1"], ["P01_01_1"])
    assert found.not_compared == ["P02_01_0"]  # neither the video is here nor a table
    assert not found.fine
    assert json.loads(json.dumps(found.as_json()))["lists"]["two.csv"]["read"] == 1
    left = check_data(root, LISTED, ["rgb"], 0.5, workers=1, skip=["P02_01_0", "P01_02_1"])
    assert left.fine
    assert left.left_out == 2


def test_what_only_the_store_has_is_there(root):
    prepare(make_plan(root, LISTED["one.csv"], "rgb", Settings(40, 20, 0.1)), root, workers=1)
    root.video("P01_01").unlink()
    found = check_data(root, LISTED, ["rgb"], 0.5, workers=1)
    assert found.only_stored == {"rgb": ["P01_01"]}
    assert found.missing == {"rgb": ["P02_01"]}
    assert found.lists["one.csv"].read == 3
    more = {"one.csv": [*LISTED["one.csv"], *segments("P01_01", (2.0, 3.0))][-1:]}
    assert check_data(root, more, ["rgb"], 0.5, workers=1).missing == {"rgb": ["P01_01"]}


def test_a_video_that_the_table_does_not_know(root):
    table = root.path / "annotations/EPIC_100_video_info.csv"
    table.parent.mkdir()
    table.write_text("video_id,duration,fps,resolution\nP01_01,5.005,59.94,100x80\nP02_01,9.0,50.0,100x80\n")
    found = check_data(root, LISTED, ["rgb"], 0.5, workers=1)
    assert found.unknown_videos == ["P01_02"]
    assert "P02_01_0" not in [*found.overrun, *found.not_compared]
    table.write_text("video_id,duration,fps,resolution\nP01_01,5.005,59.94,100x80\nP02_01,1.8,50.0,100x80\n")
    found = check_data(root, LISTED, ["rgb"], 0.5, workers=1)
    assert found.as_json()["overrunning_segments"] == ["P01_01_2", "P02_01_0"]  # the second's video is not here
    assert found.as_json()["segments_without_video_end"] == []
    table.write_text("video_id,duration,fps,resolution\nP01_01,0,59.94,wide\n")
    with pytest.raises(DataError, match=r"EPIC_100_video_info\.csv:2  P01_01: duration '0'"):
        check_data(root, LISTED, ["rgb"], 0.5, workers=1)


@pytest.mark.parametrize("seconds", [float("nan"), -1.0, 0.0, float("inf")])
def test_a_clip_of_no_length_is_refused(tmp_path, seconds):
    with pytest.raises(DataError, match=f"clip_seconds={seconds}: expected seconds of a clip, above 0"):
        check_data(DataRoot(tmp_path), {}, ["rgb"], seconds)


def test_the_real_lists(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").symlink_to(shared_data / "epic-100-annotations")
    root = DataRoot(tmp_path)
    validation = root.segments("EPIC_100_validation.csv")
    note = lengths_note(root, validation, clip_seconds=None)
    assert note == "9668 segments: 0 shorter than a clip (frames repeated), 1 truncated at the end of the video"
    test = root.segments("EPIC_100_test_timestamps.csv")
    by_hand = sum(s.stop - s.start < 0.32 for s in test)
    assert 50 < by_hand < 100, "75 rows have under 16 frames at 50 frames per second"
    assert f"13092 segments: {by_hand} shorter" in lengths_note(root, test, clip_seconds=0.32)


def test_without_the_table_the_note_says_so(tmp_path: Path) -> None:
    assert "unknown how many" in lengths_note(DataRoot(tmp_path), [], None)


def test_short_segments_of_the_real_lists_take_in_what_is_around_them(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").symlink_to(shared_data / "epic-100-annotations")
    root = DataRoot(tmp_path)
    test = root.segments("EPIC_100_test_timestamps.csv")
    padded = short_with_context(root, test, 0.32, 0.5)
    widened = [one.stop - one.start for one, other in zip(test, padded, strict=True) if one != other]
    assert len([length for length in widened if length < 0.319]) == sum(s.stop - s.start < 0.319 for s in test) > 50
    assert max(widened) < 0.3201
    assert min(segment.stop - segment.start for segment in padded) > 0.319
    assert "13092 segments: 0 shorter" in lengths_note(root, padded, clip_seconds=0.3199)


def test_context_needs_to_know_where_videos_end(tmp_path: Path, make_list) -> None:
    root = DataRoot(tmp_path)
    path = make_list(tmp_path / "annotations/list.csv", [("P01_01_0", "P01_01", 1.0, 1.2)], labels=False)
    with pytest.raises(DataError, match=r"EPIC_100_video_info\.csv: no such file"):
        short_with_context(root, root.segments("list.csv"), 1.0, 0.5)
    table = path.with_name("EPIC_100_video_info.csv")
    table.write_text("video_id,duration,fps,resolution\nP01_02,5.0,50.0,100x80\n")
    with pytest.raises(DataError, match=r"lacks P01_01, so where these videos end is not known"):
        short_with_context(root, root.segments("list.csv"), 1.0, 0.5)
