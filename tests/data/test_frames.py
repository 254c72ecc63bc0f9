"""The organisers' extracted frames: numbers to times, folders and tars, holes and damage."""

import tarfile

import cv2
import numpy as np
import pytest

from epicsub.data.frames import ExtractedFrames, index_rate, index_stride
from epicsub.errors import DataError


def write_frames(folder, count, base, channels=("",)):
    """JPEGs whose gray level is 2 x their place (v: 255 less that)."""
    for channel in channels:
        (folder / channel).mkdir(parents=True, exist_ok=True)
        for place in range(count):
            level = 255 - 2 * place if channel == "v" else 2 * place
            image = np.full((16, 24, 3), level, np.uint8) if channel == "" else np.full((16, 24), level, np.uint8)
            cv2.imwrite(str(folder / channel / f"frame_{place + base:010d}.jpg"), image)
    return folder


def places(frames):
    return [round(float(frame[..., 0].float().mean()) / 2) for frame in frames]


def pack(folder, prefix=""):
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, arcname=prefix or ".")
    return path


@pytest.mark.parametrize(
    ("video", "rate", "stride"), [("P01_01", 60, 2), ("P37_103", 50, 1), ("P22_117", 50, 1), ("P04_25", 60, 2)]
)
def test_rates(video, rate, stride):
    assert (index_rate(video), index_stride(video, "flow")) == (rate, stride)


@pytest.mark.parametrize("base", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("video", "rate"), [("P01_01", 60), ("P01_101", 50)])
def test_rgb_place_is_floor_of_time_times_rate(tmp_path, base, packed, video, rate):
    path = write_frames(tmp_path / video, 100, base)
    reader = ExtractedFrames(pack(path, video) if packed else path, video, "rgb")
    assert (reader.fps, reader.duration, reader.height, reader.width) == (rate, 100 / rate, 16, 24)
    times = np.array([0.5, 0.0, 0.29, 0.29, 1.234, 99 / rate])
    frames = reader.frames_at(times)
    assert frames.shape == (6, 16, 24, 3)
    assert places(frames) == [int(time * rate + 0.03) for time in times]
    reader.close()


@pytest.mark.parametrize(("video", "rate", "stride"), [("P01_01", 60, 2), ("P01_101", 50, 1)])
@pytest.mark.parametrize("packed", [False, True])
def test_flow_index_is_the_official_conversion(tmp_path, video, rate, stride, packed):
    """Against C1's `(rgb - 1) // stride + 1` on numbers from 1, for every RGB frame."""
    path = write_frames(tmp_path / video, 60, 1, ("u", "v"))
    reader = ExtractedFrames(pack(path) if packed else path, video, "flow")
    rgb = np.arange(1, 60 * stride + 1)
    frames = reader.frames_at((rgb - 1) / rate)
    assert frames.shape[1:] == (16, 24, 2)
    official = (rgb - 1) // stride + 1
    assert places(frames) == (official - 1).tolist()
    total = frames[..., 0].int() + frames[..., 1].int()
    assert (total - 255).abs().max() <= 2  # v is 255 - u here: both channels in their place


def test_colours_are_red_green_blue(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 2] = 255  # OpenCV writes blue, green, red
    (tmp_path / "P01_01").mkdir()
    cv2.imwrite(str(tmp_path / "P01_01" / "frame_0000000001.jpg"), image)
    frame = ExtractedFrames(tmp_path / "P01_01", "P01_01", "rgb").frames_at(np.zeros(1))[0]
    assert frame[8, 8, 0] > 250
    assert frame[8, 8, 2] < 5


def test_past_the_end(tmp_path):
    reader = ExtractedFrames(write_frames(tmp_path / "P01_01", 30, 1), "P01_01", "rgb")
    assert places(reader.frames_at(np.array([0.5]))) == [29]  # one duration past the last one's start
    with pytest.raises(DataError, match=r"P01_01: its 30 frames end at 0\.500 s, a frame at 0\.700 s"):
        reader.frames_at(np.array([0.7]))


def test_hole_and_damage_are_named(tmp_path):
    folder = write_frames(tmp_path / "P01_01", 30, 1)
    (folder / "frame_0000000011.jpg").unlink()
    (folder / "frame_0000000012.jpg").write_bytes(b"")
    (folder / "frame_0000000013.jpg").write_bytes(b"no picture")
    reader = ExtractedFrames(folder, "P01_01", "rgb")
    assert places(reader.frames_at(np.array([9 / 60]))) == [9]
    for place, words in (
        (10, "lacks frame_0000000011.jpg"),
        (11, "0012.jpg is no readable"),
        (12, "0013.jpg is no read"),
    ):
        with pytest.raises(DataError, match=words):
            reader.frames_at(np.array([place / 60]))


def test_nothing_there(tmp_path):
    (tmp_path / "P01_01").mkdir()
    with pytest.raises(DataError, match="holds no frames"):
        ExtractedFrames(tmp_path / "P01_01", "P01_01", "rgb")
    write_frames(tmp_path / "P01_02", 3, 1, ("u",))
    with pytest.raises(DataError, match="holds no v"):
        ExtractedFrames(tmp_path / "P01_02", "P01_02", "flow")
    with pytest.raises(DataError, match="begins with frame 7"):
        ExtractedFrames(write_frames(tmp_path / "P01_03", 3, 7), "P01_03", "rgb")
    (tmp_path / "P01_04.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match=r"P01_04\.tar: is not a whole tar file"):
        ExtractedFrames(tmp_path / "P01_04.tar", "P01_04", "rgb")
