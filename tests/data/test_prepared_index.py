"""Original or prepared: decided once, for all segments, and reported."""

import numpy as np
import pytest

from epicsub.data.annotations import Segment
from epicsub.data.prepared import choose_store
from epicsub.data.prepared.plan import Settings, make_plan
from epicsub.data.prepared.write import prepare
from epicsub.data.root import DataRoot
from epicsub.data.sources import ClipSource
from epicsub.errors import DataError

SEGMENTS = [Segment(f"P01_0{n}_0", "P01", f"P01_0{n}", 0.5, 1.5, 1, 2, 0, 0) for n in (1, 2)]


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("root")
    for number in (1, 2):
        make_video(folder / f"videos/P01/P01_0{number}.MP4", 120, size=(200, 160))
    return DataRoot(folder)


def prepare_some(root, count, crf=20):
    prepare(make_plan(root, SEGMENTS[:count], "rgb", Settings(80, crf, 0.1), overwrite=True), root, workers=1)


def test_nothing_prepared(root):
    choice = choose_store(root, SEGMENTS, ("rgb",), "auto")
    assert (choice.prepared, choice.note) == (frozenset(), "rgb is read from the originals")
    with pytest.raises(DataError, match=r"not complete; `epicsub data prepare`(.|\n)*P01_01: no prepared rgb"):
        choose_store(root, SEGMENTS, ("rgb",), "prepared")


def test_part_of_it_is_not_mixed_in(root):
    prepare_some(root, 1)
    choice = choose_store(root, SEGMENTS, ("rgb",), "auto")
    assert (choice.prepared, choice.note) == (frozenset(), "rgb is read from the originals (prepared/ lacks 1 video)")
    assert choose_store(root, SEGMENTS[:1], ("rgb",), "auto").prepared == {"rgb"}
    longer = Segment("P01_01_9", "P01", "P01_01", 0.5, 1.9, 1, 2, 0, 0)
    with pytest.raises(DataError, match=r"P01_01\.index: lacks 1 segment \(P01_01_9\)"):
        choose_store(root, [SEGMENTS[0], longer], ("rgb",), "prepared")


def test_all_of_it(root):
    prepare_some(root, 2)
    choice = choose_store(root, SEGMENTS, ("rgb",), "auto")
    assert (choice.prepared, choice.note) == (frozenset({"rgb"}), "rgb is read from prepared/ (short side 80, crf 20)")
    assert choose_store(root, SEGMENTS, ("rgb",), "original").prepared == frozenset()
    source = ClipSource(root, ("rgb",), prepared=choice.prepared, indexes=choice.indexes)
    assert source.read(SEGMENTS[0], np.array([0.6, 1.0]))["rgb"].shape == (2, 80, 100, 3)
    with pytest.raises(DataError, match=r"^P01_09_0: .*P01_09\.index: incomplete cache entry"):
        source.read(Segment("P01_09_0", "P01", "P01_09", 0.5, 1.5, 1, 2, 0, 0), np.array([0.6]))


def test_entries_of_different_quality_are_no_store(root):
    prepare_some(root, 2)
    prepare_some(root, 1, crf=30)
    with pytest.raises(DataError, match=r"different settings: short side 80, crf 30 \(P01_01\), short side 80, crf 20"):
        choose_store(root, SEGMENTS, ("rgb",), "prepared")
    assert choose_store(root, SEGMENTS, ("rgb",), "auto").prepared == frozenset()
