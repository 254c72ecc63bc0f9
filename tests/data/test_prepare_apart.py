"""The prepared store of a real kitchen, pixel by pixel; and no two processes in one store."""

from pathlib import Path

import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.decode_pyav import PyavReader
from epicsub.data.parallel import alone
from epicsub.data.prepare import prepare
from epicsub.data.prepare_plan import (
    Settings,
    make_plan,
)
from epicsub.data.prepared_video import PreparedVideo
from epicsub.data.root import DataRoot
from epicsub.errors import DataError


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


def test_two_at_once_are_refused(tmp_path):
    with (
        alone(tmp_path / "rgb"),
        pytest.raises(DataError, match="another process is writing there"),
        alone(tmp_path / "rgb"),
    ):
        pass
