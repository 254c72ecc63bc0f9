"""Hands by MediaPipe, in real clips; its models come from the package index."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from epicsub.data.boxes.convert import convert_boxes
from epicsub.data.boxes.detections import UNKNOWN_STATE
from epicsub.data.boxes.hands import find_hands, read_models
from epicsub.data.boxes.slots import BoxSource, SlotSettings
from epicsub.data.boxes.store import boxes_path, open_boxes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.slots import Slots
from tests.data.test_boxes import FOUND, write_official


@pytest.fixture(scope="session")
def hand_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the last MediaPipe that has the models in it, as pip fetches it."""
    folder = tmp_path_factory.getbasetemp().parent / "hand-models"
    if not (found := sorted(folder.glob("mediapipe-*.whl"))):
        of = ["--no-deps", "--only-binary", ":all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
        fetch = [sys.executable, "-m", "pip", "download", "-q", *of, "-d", str(folder), "mediapipe==0.10.21"]
        fetched = subprocess.run(fetch, check=False, capture_output=True, text=True)
        if fetched.returncode:
            pytest.skip(f"no package index here: {fetched.stderr[-200:]}")
        found = sorted(folder.glob("mediapipe-*.whl"))
    return found[0]


def test_hands_of_real_clips_are_found_and_marked_as_hands_alone(
    shared_data: Path, hand_models: Path, tmp_path: Path
) -> None:
    clips = {"P01_01": "videos/flipping_a_pancake.mkv", "P02_01": "handwash/002_01_G1.mp4"}
    for video_id, name in clips.items():
        link = tmp_path / "videos" / video_id[:3] / f"{video_id}{Path(name).suffix}"
        link.parent.mkdir(parents=True)
        link.symlink_to(shared_data / name)
    write_official(tmp_path / "videos" / "P03" / "P03_01.mp4", [])  # has boxes already, so its video is not opened
    write_official(tmp_path / "hand-objects" / "P03" / "P03_01.pkl", [FOUND])

    convert_boxes(DataRoot(tmp_path), workers=1)
    summary = find_hands(DataRoot(tmp_path), hand_models, rate=2, workers=1)
    assert (summary.converted, summary.kept) == (2, 1)
    assert [note.count("ms a picture") for note in summary.notes] == [1, 1]
    shares = {}
    for video_id in clips:
        boxes = open_boxes(boxes_path(tmp_path, video_id))
        arrays = boxes.arrays
        assert (boxes.note.detector, boxes.note.rate, len(arrays.objects)) == ("mediapipe", 2, 0)
        assert set(arrays.states.tolist()) == {UNKNOWN_STATE}
        assert (arrays.hands[:, :2] < arrays.hands[:, 2:4]).all()
        shares[video_id] = float((np.diff(arrays.hand_starts.astype(int)) > 0).mean())
    assert 0.2 < shares["P01_01"] < 0.9
    assert shares["P02_01"] > 0.5
    arrays = open_boxes(boxes_path(tmp_path, "P02_01")).arrays  # two arms from below, not crossed
    middles = (arrays.hands[:, 0] + arrays.hands[:, 2].astype(int)) / 2
    assert middles[arrays.sides == 0].mean() < middles[arrays.sides == 1].mean()
    slots = Slots.of(BoxSource(tmp_path, SlotSettings(slices=2)).fill("P02_01", np.arange(8) / 2))
    assert slots.present_BTS[:, :2].any()
    assert not slots.present_BTS[:, 2:].any()
    assert find_hands(DataRoot(tmp_path), hand_models, rate=2, workers=1).kept == 3
    with pytest.raises(DataError, match="2 pictures a second"):
        find_hands(DataRoot(tmp_path), hand_models, rate=3, workers=1)


def test_models_that_are_not_there_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs --hand-models FILE: the models are in"):
        read_models(None)
    other = tmp_path / "mediapipe-1.0-py3-none-any.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("mediapipe/__init__.py", "")
    with pytest.raises(DataError, match=r"holds no palm_detection_full\.tflite and no hand_landmark_full\.tflite"):
        read_models(other)
    other.write_bytes(b"nothing")
    with pytest.raises(DataError, match="is no whole hand_landmarker"):
        read_models(other)
    task = tmp_path / "hand_landmarker.task"
    with zipfile.ZipFile(task, "w") as archive:
        for name in ("hand_detector.tflite", "hand_landmarks_detector.tflite"):
            archive.writestr(name, b"model")
    assert read_models(task) == task.read_bytes()
