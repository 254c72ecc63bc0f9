"""Writing the prepared store: pixels of a real kitchen, locks, full disks, and SIGKILL while two workers write."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.prepared import read_index
from epicsub.data.prepared.plan import Settings, make_plan, measured_rate
from epicsub.data.prepared.video import PreparedVideo
from epicsub.data.prepared.write import _remove_leftovers, prepare
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import hold_folder
from epicsub.synth import SynthSettings, make_kitchens

VIDEOS = [f"P01_0{number}" for number in (1, 2, 3, 4)]
EVERY = [Segment(f"{video}_0", "P01", video, 0.0, 9.9, 1, 2, 0, 0) for video in VIDEOS]
SMALL = Settings(short_side=40, crf=18, margin=0.1)
PROGRAM = (
    "import sys; from pathlib import Path\n"
    "from tests.data.test_prepared_write import EVERY, SMALL, DataRoot, make_plan, prepare\n"
    "root = DataRoot(Path(sys.argv[1]))\n"
    "prepare(make_plan(root, EVERY, 'rgb', SMALL), root, workers=2)\n"
)


def test_pixels_are_the_originals(tmp_path, shared_data):
    """A real kitchen, at its own size: nothing but the codec between them."""
    folder = tmp_path / "videos/P01"
    folder.mkdir(parents=True)
    (folder / "P01_101.mkv").symlink_to(Path(shared_data) / "videos/flipping_a_pancake.mkv")
    root = DataRoot(tmp_path)
    segment = Segment("P01_101_0", "P01", "P01_101", 2.0, 8.0, 1, 2, 0, 0)
    prepare(make_plan(root, [segment], "rgb", Settings(256, 20, 0.0)), root, workers=1)
    times = np.linspace(2.0, 8.0, 30)
    theirs = PyavReader(folder / "P01_101.mkv").frames_at(times).float()
    ours = PreparedVideo(root.prepared("P01_101", "rgb")).frames_at(times).float()
    assert (ours - theirs).abs().mean() < 3  # crf 20, a textured picture: 2.8
    assert (ours.mean((0, 1, 2)) - theirs.mean((0, 1, 2))).abs().max() < 1  # no shift of colour


def test_the_same_pictures_give_the_same_bytes_whatever_memory_held(tmp_path):
    """glibc fills the memory that a process is given with a byte of our choice, which the encoder must not read."""
    make_kitchens(tmp_path, SynthSettings(train=2, heldout=1, validation=1, test=1), workers=1)
    stored = []
    for filling in ("85", "255"):
        words = ["data", "prepare", "--data", tmp_path, "--modality", "rgb", "--workers", "1", "--overwrite"]
        environment = os.environ | {"MALLOC_PERTURB_": filling}
        subprocess.run([sys.executable, "-m", "epicsub", *words], env=environment, check=True, capture_output=True)
        stored.append(entries(tmp_path / "prepared"))
    assert stored[0] == stored[1]


def test_two_at_once_are_refused(tmp_path):
    with (
        hold_folder(tmp_path / "rgb"),
        pytest.raises(DataError, match="another process is writing there"),
        hold_folder(tmp_path / "rgb"),
    ):
        pass


def test_a_full_disk_leaves_the_entry_that_is_extended_as_it_was(tmp_path, make_video, monkeypatch):
    """The disk fills up while the index of the longer entry is written: the old pictures and index are untouched."""
    make_video(tmp_path / "videos/P01/P01_01.MP4", 120)
    root, settings = DataRoot(tmp_path), Settings(40, 20, 0.1)
    parts = [Segment(f"P01_01_{a}", "P01", "P01_01", float(a), a + 0.4, 1, 2, 0, 0) for a in (0, 1)]
    prepare(make_plan(root, parts[:1], "rgb", settings), root, workers=1)
    folder = tmp_path / "prepared/rgb/P01"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    real = os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_ino in {path.stat().st_ino for path in folder.glob(".P*.index")}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="disk is full"):
        prepare(make_plan(root, parts, "rgb", settings), root, workers=1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert read_index(root.prepared("P01_01", "rgb")).covers(0.0, 0.4)


def test_pictures_without_an_index_are_cleared_away(tmp_path):
    folder = tmp_path / "P01"
    folder.mkdir()
    for name in ("P01_01.h264", "P01_02.h264", "P01_02.index", ".P01_03.x_234567.h264"):
        (folder / name).write_bytes(b"")
    _remove_leftovers(tmp_path, None)
    assert sorted(path.name for path in folder.iterdir()) == ["P01_02.h264", "P01_02.index"]


def test_where_nothing_can_be_read_the_rate_is_not_known(tmp_path):
    (tmp_path / "videos/P01").mkdir(parents=True)
    (tmp_path / "videos/P01/P01_01.MP4").write_bytes(b"no video")
    root = DataRoot(tmp_path)
    plan = make_plan(root, [Segment("P01_01_0", "P01", "P01_01", 0.0, 1.0, 1, 2, 0, 0)], "rgb", Settings())
    measured = measured_rate(plan.jobs)
    assert (measured.rate, measured.pieces, len(measured.problems)) == (0.0, 0, 1)


def test_two_workers_killed_while_they_write(tmp_path, make_video, rates, repository):
    for video in VIDEOS:
        make_video(tmp_path / f"videos/P01/{video}.MP4", 600, rates["59.94"], size=(200, 160))
    root, store = DataRoot(tmp_path), tmp_path / "prepared/rgb"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    child = subprocess.Popen(
        command, cwd=repository, env=os.environ | {"PYTHONPATH": str(repository)}, stdout=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while child.poll() is None and not list(store.glob("*/.P*")) and time.monotonic() < until:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)  # the workers hold the pipe too: until they have ended with it
    assert child.returncode == -signal.SIGKILL
    assert list(store.glob("*/.P*"))  # half an entry, under another name
    for path in store.rglob("P*.index"):
        assert read_index(path) is not None
        assert len(PreparedVideo(path).frames_at(np.linspace(0, 9.9, 50))) == 50
    left = make_plan(root, EVERY, "rgb", SMALL)
    assert left.jobs
    prepare(left, root, workers=1)
    assert not list(store.glob("*/.P*"))
    undisturbed = DataRoot(tmp_path / "undisturbed")
    undisturbed.path.mkdir()
    (undisturbed.path / "videos").symlink_to(tmp_path / "videos")
    prepare(make_plan(undisturbed, EVERY, "rgb", SMALL), undisturbed, workers=1)
    assert len(entries(store)) == 2 * len(VIDEOS)
    assert entries(store) == entries(undisturbed.path / "prepared/rgb")


def entries(store):
    return {path.name: path.read_bytes() for path in store.rglob("P*.*")}
