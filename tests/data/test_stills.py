import cv2
import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.decode.reader import open_reader
from epicsub.data.root import DataRoot
from epicsub.data.stills import HEIGHT, middle_frames


def segment(name, video, start, stop):
    return Segment(name, video[:3], video, start, stop, 1, 2, 0, 0)


@pytest.fixture
def root(tmp_path, shared_data):
    folder = tmp_path / "videos" / "P01"
    folder.mkdir(parents=True)
    (folder / "P01_01.mkv").symlink_to(shared_data / "videos" / "flipping_a_pancake.mkv")
    return DataRoot(tmp_path)


def test_the_frame_is_the_one_in_the_middle(root):
    found = middle_frames(root, [segment("a", "P01_01", 2.0, 4.0), segment("b", "P01_01", 7.0, 8.0)], "pyav")
    reader = open_reader(root.video("P01_01"), "pyav")
    for name, time in (("a", 3.0), ("b", 7.5)):
        picture = cv2.imdecode(np.frombuffer(found[name], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (HEIGHT, round(426 * HEIGHT / 240), 3)
        frame = reader.frames_at(np.array([time]))[0].numpy()[..., ::-1]
        small = cv2.resize(frame, picture.shape[1::-1], interpolation=cv2.INTER_AREA)
        other = cv2.resize(reader.frames_at(np.array([10.5 - time]))[0].numpy()[..., ::-1], picture.shape[1::-1])
        assert np.abs(picture.astype(int) - small).mean() < 4 < np.abs(picture.astype(int) - other).mean()
    assert len(found["a"]) < 20_000


def test_a_frame_that_cannot_be_had_says_why(root):
    found = middle_frames(root, [segment("a", "P01_01", 2.0, 4.0), segment("b", "P02_01", 0.0, 1.0)])
    assert found["b"].startswith("b: no rgb for video P02_01")
    assert isinstance(found["a"], bytes)
