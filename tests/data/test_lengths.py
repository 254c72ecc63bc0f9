"""Out-of-the-ordinary segments are counted, on the real tables."""

from pathlib import Path

import pytest

from epicsub.data.check.annotations import lengths_note, short_with_context
from epicsub.data.root import DataRoot
from epicsub.errors import DataError


def test_the_real_lists(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").symlink_to(shared_data / "epic-100-annotations")
    root = DataRoot(tmp_path)
    validation = root.segments("EPIC_100_validation.csv")
    note = lengths_note(root, validation, clip_seconds=None)
    assert note == "9668 segments: 0 shorter than a clip (frames repeated), 1 truncated at the end of the video"
    test = root.segments("EPIC_100_test_timestamps.csv")
    by_hand = sum(s.stop - s.start < 0.32 for s in test)
    assert 50 < by_hand < 100, "75 rows have under 16 frames at 50 frames a second"
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
