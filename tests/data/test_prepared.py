"""The prepared store: what it holds, how it is made, and what is left after a kill or on a full disk."""

import errno
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.data.annotations import Segment
from epicsub.data.prepared import KEY, PACKET, REFERENCE, read_index, video
from epicsub.data.prepared import write as prepare_module
from epicsub.data.prepared.plan import (
    MERGE_GAP,
    Settings,
    listed_segments,
    make_plan,
    measured_rate,
    merge_intervals,
)
from epicsub.data.prepared.video import PreparedVideo, needed_places
from epicsub.data.prepared.write import check_space, prepare
from epicsub.data.root import DataRoot
from epicsub.errors import DataError

RATE = "59.94"
SMALL = Settings(short_side=40, crf=18, margin=0.1)


def segments(video, *parts):
    return [Segment(f"{video}_{i}", video[:3], video, a, b, 1, 2, 0, 0) for i, (a, b) in enumerate(parts)]


@pytest.fixture
def root(tmp_path, make_video, rates):
    for number in (1, 2, 3):
        make_video(tmp_path / f"videos/P01/P01_0{number}.MP4", 300, rates[RATE], size=(200, 160))
    return DataRoot(tmp_path)


EVERY = [s for n in (1, 2, 3) for s in segments(f"P01_0{n}", (0.5, 1.5), (1.2, 1.8), (3.5, 4.6))]


def entries(root):
    return {
        str(path.relative_to(root.path)): path.read_bytes() for path in sorted((root.path / "prepared").rglob("P*.*"))
    }


def test_only_what_segments_need_and_overlaps_once(root):
    plan = make_plan(root, EVERY, "rgb", SMALL)
    assert [np.round(job.intervals, 6).tolist() for job in plan.jobs] == [[[0.4, 1.9], [3.4, 4.7]]] * 3
    assert (plan.kept, plan.missing) == (0, {})
    assert plan.seconds == pytest.approx(3 * (1.3 + 1.1))
    summary = prepare(plan, root, workers=1)
    files = entries(root)
    assert len(files) == 6
    assert (summary.made, summary.size) == (3, sum(map(len, files.values())))
    index = read_index(root.prepared("P01_01", "rgb"))
    rate = 60000 / 1001
    frames = sum(int(b * rate + 0.03) - int(a * rate + 0.03) + 1 for a, b in ((0.4, 1.9), (3.4, 4.7)))
    assert sum(stretch.rows for stretch in index.stretches) == frames
    assert index.note["size"] == [50, 40]
    again = make_plan(root, EVERY, "rgb", SMALL)
    assert (again.jobs, again.kept) == ([], 3)


@pytest.mark.parametrize("longest", [60.0, 0.4])
def test_every_frame_of_a_stretch_in_any_order(root, read_number, rates, longest, monkeypatch):
    monkeypatch.setattr(prepare_module, "LONGEST_STRETCH", longest)
    prepare(make_plan(root, EVERY[:3], "rgb", Settings(80, 18, 0.1)), root, workers=1)  # blocks of 4 pixels
    reader = PreparedVideo(root.prepared("P01_01", "rgb"))
    assert len(reader.index.stretches) == (2 if longest > 1 else 4 + 4)
    assert reader.index.covers(0.4, 1.9)
    assert reader.index.covers(0.75, 1.55)
    assert not reader.index.covers(0.4, 3.5)
    rate, rng = float(rates[RATE]), np.random.default_rng(0)
    there = [*range(24, 114), *range(204, 281)]
    for _ in range(30):
        chosen = rng.choice(there, rng.integers(1, 20))
        shown = reader.frames_at((chosen + 0.5) / rate).numpy()
        assert [read_number(np.repeat(np.repeat(frame, 2, 0), 2, 1)) for frame in shown] == chosen.tolist()
    for outside in (22, 116, 202, 284):
        with pytest.raises(DataError, match=r"P01_01\.h264: has no frame for .*too small a margin"):
            reader.frames_at(np.array([(outside + 0.5) / rate]))


def needed_slowly(packets, place):
    """All that H.264 may have used for the picture: references from the keyframe before it in time."""
    begin = max(
        (i for i, p in enumerate(packets) if p["flags"] & KEY and p["pts"] <= packets[place]["pts"]),
        key=lambda i: packets[i]["pts"],
    )
    return {i for i in range(begin, place) if packets[i]["flags"] & REFERENCE} | {place}


def test_only_needed_pictures_are_decoded(root):
    prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    index = read_index(root.prepared("P01_01", "rgb"))
    packets = index.packets(index.stretches[0])
    for place in range(len(packets)):
        assert set(needed_places(packets, np.array([place])).tolist()) == needed_slowly(packets, place)
        assert len(needed_slowly(packets, place)) <= 3 or place > len(packets) - 8  # the end of a stretch is a chain
    both = needed_places(packets, np.array([5, 40]))
    assert set(both.tolist()) == needed_slowly(packets, 5) | needed_slowly(packets, 40)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 40)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_merged_intervals_are_the_union(parts):
    tenths = [(a / 10, (a + length) / 10) for a, length in parts]
    out = merge_intervals(tenths)
    assert all(b < c - MERGE_GAP + 1e-9 for (_, b), (c, _) in pairwise(out))
    for moment in np.arange(0, 25, 0.05):
        inside = any(a <= moment <= b for a, b in tenths)
        assert not inside or any(a <= moment <= b for a, b in out)
    assert {a for a, _ in out} <= {a for a, _ in tenths}
    assert {b for _, b in out} <= {b for _, b in tenths}


def test_more_segments_later_keep_those_that_were(root):
    prepare(make_plan(root, EVERY[:1], "rgb", SMALL), root, workers=1)
    plan = make_plan(root, EVERY[2:3], "rgb", SMALL)
    assert len(plan.jobs) == 1
    prepare(plan, root, workers=1)
    index = read_index(root.prepared("P01_01", "rgb"))
    assert index.covers(0.5, 1.5)
    assert index.covers(3.5, 4.6)
    assert not index.covers(1.5, 2.5)


def test_other_settings_are_refused_and_overwritten_when_asked(root):
    prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    with pytest.raises(DataError, match=r"P01_01\.index: crf 18 there, 30 asked"):
        make_plan(root, EVERY[:3], "rgb", Settings(40, 30, 0.1))
    prepare(make_plan(root, EVERY[:3], "rgb", Settings(40, 30, 0.1), overwrite=True), root, workers=1)
    assert read_index(root.prepared("P01_01", "rgb")).note["crf"] == 30
    with pytest.raises(DataError, match=r"short_side=4.*\n.*crf=60"):
        Settings(4, 60)


def test_originals_may_go_afterwards(root):
    prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    for number in (1, 2):
        (root.path / f"videos/P01/P01_0{number}.MP4").unlink()
    plan = make_plan(root, EVERY, "rgb", SMALL)
    assert plan.kept == 1
    assert plan.missing == {"P01_02": 3}
    assert [job.video_id for job in plan.jobs] == ["P01_03"]


def test_a_bad_video_does_not_keep_the_others(root):
    path = root.path / "videos/P01/P01_02.MP4"
    path.write_bytes(path.read_bytes()[:2000])
    plan = make_plan(root, EVERY, "rgb", SMALL)
    measured = measured_rate(plan.jobs)
    assert measured.rate > 0
    assert (measured.pieces, measured.videos) == (4, 2)  # not 6 of 3
    with pytest.raises(DataError, match=r"for 1 of 3 videos, the others are done(.|\n)*P01_02: .*P01_02\.MP4"):
        prepare(make_plan(root, EVERY, "rgb", SMALL), root, workers=1)
    assert make_plan(root, EVERY, "rgb", SMALL).kept == 2


def test_a_video_that_promises_more_than_it_has(tmp_path, make_video):
    path = make_video(tmp_path / "videos/P01/P01_01.MP4", 300, options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    root = DataRoot(tmp_path)
    with pytest.raises(DataError, match=r"P01_01\.MP4: .*(cut off|damaged)"):
        prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    assert not entries(root)
    prepare(make_plan(root, EVERY[:1], "rgb", SMALL), root, workers=1)  # what is there can be had
    assert len(entries(root)) == 2


@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_full_disk(root, monkeypatch, files):
    """The disk fills up while the pictures (0, 2) or the index (1, 3) of an entry are written."""
    prepare(make_plan(root, EVERY[:1], "rgb", SMALL), root, workers=1)
    before, opened = entries(root), []
    real = os.fsync

    def full(descriptor):
        opened.append(descriptor)
        if len(opened) > files // 2 * 3 + files % 2:  # two files and their folder are flushed
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    plan = make_plan(root, EVERY[3:], "rgb", SMALL)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"disk is full(.|\n)*make room and run the same"):
        prepare(plan, root, workers=1)
    monkeypatch.setattr(os, "fsync", real)
    there = [path for path in (root.path / "prepared").rglob("*.index") if read_index(path)]
    assert len(there) == 1 + files // 2
    assert not list((root.path / "prepared").rglob(".P*"))
    assert before.items() <= entries(root).items()
    prepare(make_plan(root, EVERY[3:], "rgb", SMALL), root, workers=1)
    assert make_plan(root, EVERY[3:], "rgb", SMALL).kept == 2


def test_not_enough_room_is_known_before(root, monkeypatch):
    plan = make_plan(root, EVERY, "rgb", SMALL)
    rate = measured_rate(plan.jobs).rate
    size = prepare(plan, root, workers=1).size
    assert 0.5 < rate * sum(job.seconds for job in plan.jobs) / size < 2
    with pytest.raises(DataError, match=r"GB are free, the store will take about .* nothing was started"):
        check_space(root.path / "prepared", 1e18)


def test_killed_at_any_moment(root, tmp_path, repository):
    """SIGKILL as soon as the first index, then as soon as the next pictures are there; then it is finished."""
    lists = tmp_path / "annotations"
    lists.mkdir()
    program = (
        "from pathlib import Path; import sys; from epicsub.data.root import DataRoot\n"
        "from epicsub.data.prepared.write import prepare; from epicsub.data.prepared.plan import Settings, make_plan\n"
        "from epicsub.data.annotations import Segment\n"
        "every = [Segment(f'P01_0{n}_0', 'P01', f'P01_0{n}', 0.0, 4.9, 1, 2, 0, 0) for n in (1, 2, 3)]\n"
        "root = DataRoot(Path(sys.argv[1]))\n"
        "prepare(make_plan(root, every, 'rgb', Settings(40, 18, 0.1)), root, workers=1)\n"
    )
    store = root.path / "prepared"
    for pattern, count in (("P*.index", 1), (".P*.h264", 1)):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(root.path)], env={**os.environ, "PYTHONPATH": str(repository)}
        )
        until = time.monotonic() + 60
        while child.poll() is None and len(list(store.rglob(pattern))) < count and time.monotonic() < until:
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        for path in store.rglob("P*.index"):
            assert read_index(path) is not None
            assert len(PreparedVideo(path).frames_at(np.linspace(0, 4.9, 50))) == 50
    whole = [Segment(f"P01_0{n}_0", "P01", f"P01_0{n}", 0.0, 4.9, 1, 2, 0, 0) for n in (1, 2, 3)]
    prepare(make_plan(root, whole, "rgb", SMALL), root, workers=2)
    finished = entries(root)
    assert not list(store.rglob(".P*"))
    prepare(make_plan(root, whole, "rgb", Settings(40, 19, 0.1), overwrite=True), root, workers=1)
    prepare(make_plan(root, whole, "rgb", SMALL, overwrite=True), root, workers=1)
    assert entries(root) == finished  # as if it had never been killed


@pytest.mark.parametrize("damage", ["pictures", "table", "shorter", "no json"])
def test_damage_never_passes_for_an_entry(root, damage):
    prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    path = root.prepared("P01_01", "rgb")
    pictures, index = bytearray(path.with_suffix(".h264").read_bytes()), bytearray(path.read_bytes())
    times = np.linspace(0.4, 1.9, 200)
    if damage == "pictures":
        pictures[len(pictures) // 4] ^= 1
        path.with_suffix(".h264").write_bytes(pictures)
        with pytest.raises(DataError, match="other bytes than were written"):
            PreparedVideo(path).frames_at(times)
    elif damage == "table":
        index[-PACKET.itemsize * 100 + 20] ^= 255
        path.write_bytes(index)
        with pytest.raises(DataError, match=r"h264: "):
            PreparedVideo(path).frames_at(times)
    else:
        if damage == "shorter":
            path.with_suffix(".h264").write_bytes(pictures[:-1])
        else:
            path.write_bytes(b"{" + bytes(index))
        assert read_index(path) is None
        with pytest.raises(DataError, match="incomplete cache entry"):
            PreparedVideo(path)
        assert len(make_plan(root, EVERY[:3], "rgb", SMALL).jobs) == 1


def test_what_was_written_is_read_back(root, monkeypatch):
    monkeypatch.setattr(video, "_table", _shifted)
    with pytest.raises(DataError, match=r"frames were written and .* read back, with other timestamps"):
        prepare(make_plan(root, EVERY[:3], "rgb", SMALL), root, workers=1)
    assert not entries(root)


REAL_TABLE = video._table


def _shifted(encoded, at):
    table = REAL_TABLE(encoded, at)
    table["pts"] += 1
    return table


def test_lists(root, make_list):
    with pytest.raises(DataError, match=r"EPIC_100_train\.csv"):
        listed_segments(root, [])
    make_list(root.path / "annotations/EPIC_100_validation.csv", [("P01_01_0", "P01_01", 1.0, 2.0)], labels=True)
    make_list(root.path / "annotations/mine.csv", [("P01_01_1", "P01_01", 1.0, 2.0)], labels=False)
    assert [s.narration_id for s in listed_segments(root, [])] == ["P01_01_0"]
    assert [s.narration_id for s in listed_segments(root, ["mine.csv"])] == ["P01_01_1"]
