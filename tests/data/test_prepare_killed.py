"""SIGKILL while two workers write entries: nothing broken stays, and another run completes."""

import os
import signal
import subprocess
import sys
import time

import numpy as np

from epicsub.data.annotations import Segment
from epicsub.data.prepared.index import read_index
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.video import PreparedVideo
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot

VIDEOS = [f"P01_0{number}" for number in (1, 2, 3, 4)]
EVERY = [Segment(f"{video}_0", "P01", video, 0.0, 9.9, 1, 2, 0, 0) for video in VIDEOS]
SMALL = Settings(short_side=40, crf=18, margin=0.1)
PROGRAM = (
    "import sys; from pathlib import Path\n"
    "from tests.data.test_prepare_killed import EVERY, SMALL, DataRoot, make_plan, prepare\n"
    "root = DataRoot(Path(sys.argv[1]))\n"
    "prepare(make_plan(root, EVERY, 'rgb', SMALL), root, workers=2)\n"
)


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
