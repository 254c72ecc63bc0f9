"""Out-of-the-ordinary segments are counted, on the real tables."""

from pathlib import Path

from epicsub.data.annotations import read_segments
from epicsub.data.lengths import lengths_note
from epicsub.data.root import DataRoot


def test_the_real_lists(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").symlink_to(shared_data / "epic-100-annotations")
    root = DataRoot(tmp_path)
    validation = read_segments(root.annotations("EPIC_100_validation.csv"))
    note = lengths_note(root, validation, clip_seconds=None)
    assert note == (
        "of 9668 segments 0 are shorter than a clip and repeat frames evenly, "
        "1 run past their video's end and are cut there"
    )
    test = read_segments(root.annotations("EPIC_100_test_timestamps.csv"))
    by_hand = sum(s.stop - s.start < 0.32 for s in test)
    assert 50 < by_hand < 100, "75 rows have under 16 frames at 50 frames a second"
    assert f"of 13092 segments {by_hand} are shorter" in lengths_note(root, test, clip_seconds=0.32)


def test_without_the_table_the_note_says_so(tmp_path: Path) -> None:
    assert "not known" in lengths_note(DataRoot(tmp_path), [], None)
