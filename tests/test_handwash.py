"""The hand-washing clips as a data root: segments of two seconds, one sink labelled, scores by video."""

from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_the_shared_clips_give_the_counts_of_their_readme(shared_data: Path, tmp_path: Path) -> None:
    from handwash_data import HALVES, HELDOUT, TARGET, TRAIN, make_root

    root = make_root(shared_data / "handwash", tmp_path / "root")
    lists = {name: root.segments(name) for name in (TRAIN, HELDOUT, TARGET, *HALVES.values())}
    assert [len(segments) for segments in lists.values()] == [419, 89, 146, 78, 68]
    kitchens = {name: {segment.participant_id for segment in segments} for name, segments in lists.items()}
    assert kitchens[TRAIN] == {f"P{video:02d}" for video in range(1, 8)}
    assert (kitchens[HELDOUT], kitchens[TARGET]) == ({"P08"}, {"P09", "P10"})
    info = root.video_info()
    for segment in (one for name in (TRAIN, HELDOUT, TARGET) for one in lists[name]):
        assert segment.stop - segment.start == 2.0
        assert segment.stop <= info[segment.video_id].duration + 0.05
        assert root.video(segment.video_id) is not None
    assert {segment.verb_class for segment in lists[TRAIN]} == set(range(7))
    assert {segment.noun_class for segment in lists[TRAIN]} == set(range(3))


def test_the_original_folders_give_the_same_clips_once_each(shared_data: Path, tmp_path: Path) -> None:
    from handwash_data import find_clips

    rows = pd.read_csv(shared_data / "handwash" / "clips.csv", dtype=str)
    original = tmp_path / "Mock_HandWashDataset"
    for place, row in enumerate(rows.head(9).itertuples()):
        step = f"Step_{row.step}" + ("" if row.hand == "both" else f"_{row.hand.capitalize()}")
        sink = ("01" if row.sink == "steel" else "02") if place % 2 else ("_01" if row.sink == "steel" else "_02")
        path = original / ("train" if place % 3 else "test") / step / f"HandWash_{row.video}_A_{row.action}_G{sink}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(shared_data / "handwash" / row.file)
    copy = (
        original / "validation" / "Step_1" / "HandWash_008_A_01_G01.mp4"
    )  # a byte-identical duplicate under another name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.symlink_to(shared_data / "handwash" / rows.file[0])
    other = original / "test" / "Step_1" / "HandWash_019_A_01_G05.mp4"  # a third sink
    other.parent.mkdir(parents=True, exist_ok=True)
    other.symlink_to(shared_data / "handwash" / rows.file[1])
    expected = [clip for clip in find_clips(shared_data / "handwash") if clip.path.name in set(rows.file[:9])]
    found = find_clips(original)
    assert sorted((clip.video_id, clip.step, clip.hand) for clip in found) == sorted(
        (clip.video_id, clip.step, clip.hand) for clip in expected
    )
