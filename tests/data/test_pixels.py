"""A clip has the same pixels, within what compression takes, from the original and from frames extracted from it."""

import av
import cv2
import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource

WIDTH, HEIGHT, FRAMES, RATE = 160, 120, 90, 60
SEGMENT = Segment("P01_01_0", "P01", "P01_01", 0.5, 1.4, 1, 2, 0, 0)


def texture():
    """A coloured cloth, larger than the picture: smooth enough for a codec, rough enough to tell frames apart."""
    rough = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
    return np.clip(cv2.resize(rough, (600, 400), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


@pytest.fixture
def root(tmp_path, rates):
    """The video, and beside it, for the second root, its frames as JPEGs at 60 a second from number 1."""
    cloth, video = texture(), tmp_path / "a/videos/P01/P01_01.MP4"
    video.parent.mkdir(parents=True)
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=rates["59.94"])
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "18", "preset": "veryfast", "threads": "1"}
        for number in range(FRAMES):
            left, top = 3 * number, 2 * number
            picture = np.ascontiguousarray(cloth[top : top + HEIGHT, left : left + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    folder = tmp_path / "b/rgb_frames/P01/P01_01"
    folder.mkdir(parents=True)
    with av.open(str(video)) as container:
        shown = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(shown) == FRAMES
    for index in range(FRAMES):
        number = index * rates["59.94"] // RATE
        cv2.imwrite(str(folder / f"frame_{index + 1:010d}.jpg"), shown[number])
    return tmp_path


def test_extracted_frames_are_the_originals(root):
    """At the instants of the organisers' frames, where both show the same picture.

    From half a second on: before it, less than half a millisecond, which is rounding, lies between two frames.
    """
    times = np.arange(32, 84, 4) / RATE
    original, extracted = (ClipSource(DataRoot(root / name), ("rgb",)).read(SEGMENT, times)["rgb"] for name in "ab")
    assert original.shape == extracted.shape == (13, HEIGHT, WIDTH, 3)
    apart = (original.float() - extracted.float()).abs()
    assert apart.mean((1, 2, 3)).max() < 4  # measured: 3.2, most of it colour at half the size
    assert (original.float().mean((1, 2)) - extracted.float().mean((1, 2))).abs().max() < 1  # no shift of colour
    later = ClipSource(DataRoot(root / "a"), ("rgb",)).read(SEGMENT, times + 1 / RATE)["rgb"]
    assert (later.float() - extracted.float()).abs().mean((1, 2, 3)).min() > 12  # a frame off shows; measured: 13.7
