"""Small kitchens: the organisers' layout and rules, the same bytes from the same seed, and motions that differ."""

import ast
import csv
import json
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from epicsub.errors import DataError
from epicsub.io import sha256
from epicsub.synth import SynthSettings, make_kitchens
from epicsub.synth.plan import NOUNS, OUTSIDE_VERBS, VERBS, plan_videos
from epicsub.synth.render import draw_frames
from epicsub.synth.write import clock_time, frame_of

TINY = {"train": 26, "heldout": 10, "validation": 12, "test": 14, "segments_per_video": 4, "width": 48, "height": 36,
        "longest": 1.2}  # fmt: skip


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "kitchens"
    make_kitchens(folder, SynthSettings(**TINY), workers=1)
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, keep_default_na=False)


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes_in_one_process_or_two(kitchens: Path, tmp_path: Path) -> None:
    summary = make_kitchens(tmp_path / "again", SynthSettings(**TINY), workers=2)
    assert summary.kept == 0
    assert tree(tmp_path / "again") == tree(kitchens)


def test_another_seed_gives_other_videos_and_other_labels(kitchens: Path, tmp_path: Path) -> None:
    make_kitchens(tmp_path / "other", SynthSettings(**TINY | {"seed": 1}), workers=1)
    mine, other = tree(kitchens), tree(tmp_path / "other")
    same = {name for name in mine if mine[name] == other.get(name)}
    assert "annotations/EPIC_100_train.csv" not in same
    assert not [name for name in same if name.endswith(".MP4")]


def test_run_again_makes_only_what_is_missing(tmp_path: Path) -> None:
    folder, settings = tmp_path / "kitchens", SynthSettings(**TINY)
    made = make_kitchens(folder, settings, workers=1)
    before = tree(folder)
    lost = folder / "videos" / "P01" / "P01_01.MP4"
    lost.unlink()
    (lost.parent / ".P01_01.abc_1234.MP4").write_bytes(b"half a video of a killed run")
    again = make_kitchens(folder, settings, workers=1)
    assert (again.videos, again.kept) == (made.videos, made.videos - 1)
    assert tree(folder) == before


def test_other_settings_or_other_data_in_the_folder_are_refused(kitchens: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"noise: 4\.0 there, 2\.0 asked"):
        make_kitchens(kitchens, SynthSettings(**TINY | {"noise": 2.0}))
    real = tmp_path / "real"
    (real / "annotations").mkdir(parents=True)
    (real / "annotations" / "EPIC_100_train.csv").write_text("the real thing")
    with pytest.raises(DataError, match="not empty"):
        make_kitchens(real, SynthSettings(**TINY))
    assert (real / "annotations" / "EPIC_100_train.csv").read_text() == "the real thing"


def test_wrong_settings_are_all_told_at_once() -> None:
    with pytest.raises(DataError) as error:
        SynthSettings(train=0, width=97, outside=1.5, nouns=99)
    assert [key in str(error.value) for key in ("train=0", "width=97", "outside=1.5", "nouns=99")] == [True] * 4


@pytest.mark.parametrize(
    "name",
    [
        "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv", "EPIC_100_video_info.csv",
        "EPIC_100_verb_classes.csv", "EPIC_100_noun_classes.csv", "EPIC_100_tail_verbs.csv",
        "EPIC_100_tail_nouns.csv", "EPIC_100_unseen_participant_ids_validation.csv",
        "EPIC_100_unseen_participant_ids_test.csv",
    ],
)  # fmt: skip
def test_columns_and_value_forms_are_the_organisers(kitchens: Path, shared_data: Path, name: str) -> None:
    """Every value, with letters and digits folded into classes, has a form that the real column has."""
    real = pd.read_csv(shared_data / "epic-100-annotations" / name, dtype=str, keep_default_na=False)
    mine = pd.read_csv(kitchens / "annotations" / name, dtype=str, keep_default_na=False)
    assert list(mine.columns) == list(real.columns)
    for column in {"narration_timestamp", "start_timestamp", "stop_timestamp", "participant_id"} & set(mine.columns):
        forms = {re.sub(r"\d", "9", value) for value in real[column]}
        assert {re.sub(r"\d", "9", value) for value in mine[column]} <= forms


def test_class_tables_hold_the_official_ids(kitchens: Path, shared_data: Path) -> None:
    for kind, drawn, count in (("verb", VERBS | OUTSIDE_VERBS, 97), ("noun", NOUNS, 300)):
        name = f"EPIC_100_{kind}_classes.csv"
        real = pd.read_csv(shared_data / "epic-100-annotations" / name).set_index("id")["key"]
        mine = table(kitchens, f"annotations/{name}").set_index("id")["key"]
        assert list(mine.index) == list(range(count))
        assert {i: mine[i] for i in drawn} == {i: real[i] for i in drawn} == drawn


def test_lists_have_the_sizes_asked_and_text_order(kitchens: Path) -> None:
    for name, count in (
        ("annotations/EPIC_100_train.csv", 26),
        ("annotations/source_heldout.csv", 10),
        ("annotations/EPIC_100_validation.csv", 12),
        ("annotations/EPIC_100_test_timestamps.csv", 14),
        ("answers/test_labels.csv", 14),
    ):
        ids = list(table(kitchens, name)["narration_id"])
        assert len(set(ids)) == count
        assert ids == sorted(ids)


def test_frame_columns_follow_the_rule_of_the_name(kitchens: Path) -> None:
    for name, rate, pattern in (
        ("EPIC_100_train.csv", 60, r"P0[1-4]_\d\d"),
        ("EPIC_100_validation.csv", 60, r"P0[56]_\d\d"),
        ("EPIC_100_test_timestamps.csv", 50, r"P0[567]_1\d\d"),
    ):
        for row in table(kitchens, f"annotations/{name}").itertuples():
            assert re.fullmatch(pattern, row.video_id)
            for stamp, frame in ((row.start_timestamp, row.start_frame), (row.stop_timestamp, row.stop_frame)):
                hours, minutes, seconds = stamp.split(":")
                exact = (int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)) * rate
                assert frame == max(1, exact.numerator // exact.denominator)


@pytest.mark.parametrize(
    ("seconds", "video_id", "frame"),
    [(0.0, "P01_01", 1), (0.29, "P01_01", 17), (1.15, "P01_01", 69), (1.15, "P01_101", 57), (0.58, "P01_101", 29)],
)
def test_frame_of_is_exact_where_floats_are_not(seconds: float, video_id: str, frame: int) -> None:
    # 0.29 * 60 = 17.4; 1.15 * 60 = 69 but 68.99999999999999 in floats; 0.58 * 50 = 29 but 28.999999999999996
    assert frame_of(seconds, video_id) == frame


def test_clock_time() -> None:
    assert clock_time(3725.079, 2) == "01:02:05.08"
    assert clock_time(59.9996, 3) == "00:01:00.000"


def test_labels_are_consistent_and_stringified_lists(kitchens: Path) -> None:
    for row in table(kitchens, "annotations/EPIC_100_train.csv").itertuples():
        assert (row.verb, row.noun) == (VERBS[row.verb_class], NOUNS[row.noun_class])
        nouns, classes = ast.literal_eval(row.all_nouns), ast.literal_eval(row.all_noun_classes)
        assert (nouns[0], classes[0]) == (row.noun, row.noun_class)
        assert [NOUNS[c] for c in classes] == nouns


def test_videos_are_what_the_tables_say(kitchens: Path) -> None:
    info = table(kitchens, "annotations/EPIC_100_video_info.csv").set_index("video_id")
    files = sorted((kitchens / "videos").rglob("*.MP4"))
    assert [path.stem for path in files] == list(info.index)
    for path in files:
        assert path.parent.name == path.stem[:3]
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = [(float(frame.pts * stream.time_base), frame.key_frame) for frame in container.decode(stream)]
            fps = Fraction(50) if "_1" in path.stem else Fraction(60000, 1001)
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert (stream.average_rate, f"{stream.width}x{stream.height}") == (fps, "48x36")
        assert info.loc[path.stem, "fps"] == pytest.approx(float(fps), abs=1e-9)
        assert info.loc[path.stem, "duration"] == pytest.approx(len(frames) / fps, abs=1e-6)
        assert max(np.diff([time for time, _ in frames])) == pytest.approx(1 / fps, abs=1e-4)
        keys = [i for i, (_, key) in enumerate(frames) if key]
        assert max(np.diff([*keys, len(frames)])) <= 12


def test_every_segment_ends_before_its_video(kitchens: Path) -> None:
    info = table(kitchens, "annotations/EPIC_100_video_info.csv").set_index("video_id")["duration"]
    for name in ("EPIC_100_train", "source_heldout", "EPIC_100_validation", "EPIC_100_test_timestamps"):
        for row in table(kitchens, f"annotations/{name}.csv").itertuples():
            start, stop = (60 * int(t[3:5]) + float(t[6:]) for t in (row.start_timestamp, row.stop_timestamp))
            assert 0 <= start < stop <= info[row.video_id]


def test_no_video_is_in_two_lists_and_kitchens_are_source_or_target(kitchens: Path) -> None:
    names = ("EPIC_100_train", "source_heldout", "EPIC_100_validation", "EPIC_100_test_timestamps")
    videos = [set(table(kitchens, f"annotations/{name}.csv")["video_id"]) for name in names]
    assert sum(map(len, videos)) == len(set().union(*videos))
    people = [{video[:3] for video in part} for part in videos]
    assert people[0] == people[1] | {"P04"} == {"P01", "P02", "P03", "P04"}
    assert not people[0] & (people[2] | people[3])


def test_outliers_are_the_share_asked_and_target_ones_are_outside_the_labels(kitchens: Path) -> None:
    outliers = table(kitchens, "answers/outliers.csv").set_index("narration_id")["kind"]
    trained = set(table(kitchens, "annotations/EPIC_100_train.csv")["verb_class"])
    for name, kind, count in (
        ("annotations/EPIC_100_train.csv", "irrelevant", 5),  # 0.2 of 26 segments, rounded
        ("annotations/source_heldout.csv", "irrelevant", 2),
        ("annotations/EPIC_100_validation.csv", "outside", 2),
        ("answers/test_labels.csv", "outside", 3),
    ):
        rows = table(kitchens, name).set_index("narration_id")
        odd = rows.loc[rows.index.isin(outliers.index)]
        assert len(odd) == count
        assert set(outliers[odd.index]) == {kind}
        is_outside = rows["verb_class"].isin(list(OUTSIDE_VERBS))
        assert set(rows.index[is_outside]) == (set(odd.index) if kind == "outside" else set())
        assert not trained & set(OUTSIDE_VERBS)


def test_classes_are_imbalanced_as_asked() -> None:
    settings = SynthSettings()
    verbs = [s.verb for v in plan_videos(settings) if v.split == "train" for s in v.segments]
    counts = [verbs.count(verb) for verb in settings.verb_ids]
    exact = 640 * 0.83 ** np.arange(8) / sum(0.83 ** np.arange(8))
    assert sum(counts) == 640
    assert np.abs(counts - exact).max() < 1
    assert 3 < counts[0] / counts[-1] < 4


def test_some_segments_overlap_and_some_are_shorter_than_a_clip() -> None:
    segments = [v.segments for v in plan_videos(SynthSettings()) if v.split == "train"]
    early = sum(b.start < a.stop for video in segments for a, b in pairwise(video))
    brief = sum(s.stop - s.start < 16 / 30 for video in segments for s in video)
    assert 0.05 < early / 640 < 0.15
    assert 0.03 < brief / 640 < 0.1


def test_names_suffice_for_the_full_count_of_test_segments() -> None:
    videos = plan_videos(SynthSettings(test=9449))
    test = [video for video in videos if video.split == "test"]
    assert sum(len(video.segments) for video in test) == 9449
    assert len({video.video_id for video in videos}) == len(videos)
    assert all(re.fullmatch(r"P0[567]_1\d\d", video.video_id) for video in test)


def test_one_list_s_size_does_not_change_another_list() -> None:
    def lists(**sizes: int) -> list[object]:
        return [v for v in plan_videos(SynthSettings(**TINY | sizes)) if v.split == "validation"]

    assert lists() == lists(train=99, test=30)


def test_shift_makes_target_pictures_darker() -> None:
    def brightness(shift: float) -> float:
        settings = SynthSettings(**TINY | {"shift": shift})
        video = next(video for video in plan_videos(settings) if video.split == "validation")
        return float(next(draw_frames(video, settings)).mean())

    assert brightness(0.0) - brightness(1.0) > 25


def test_settings_are_kept_beside_the_data(kitchens: Path) -> None:
    assert json.loads((kitchens / "synth.json").read_text()) == SynthSettings(**TINY).as_dict()


def test_tail_lists_leave_out_the_common_classes(kitchens: Path) -> None:
    with open(kitchens / "annotations" / "EPIC_100_tail_verbs.csv", newline="") as handle:
        tail = {int(row["verb"]) for row in csv.DictReader(handle)}
    assert not {0, 1, 2} & tail
    assert {9, 10} <= tail  # pour and mix, the rarest
    assert len(tail) > 85
