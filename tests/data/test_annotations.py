"""The organisers' tables, the real ones and wrong ones."""

from decimal import Decimal

import pandas as pd
import pytest

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.annotations import (
    parse_timestamp,
    read_class_names,
    read_ids,
    read_segments,
    read_skip_list,
    read_video_info,
)
from epicsub.errors import DataError


@pytest.fixture(scope="module")
def tables(shared_data):
    return shared_data / "epic-100-annotations"


@pytest.fixture(scope="module")
def validation(tables):
    return read_segments(tables / "EPIC_100_validation.csv")


@pytest.fixture(scope="module")
def test_list(tables):
    return read_segments(tables / "EPIC_100_test_timestamps.csv")


def test_validation_counts(validation, tables):
    info = read_video_info(tables / "EPIC_100_video_info.csv")
    assert len(validation) == 9668
    assert len({segment.video_id for segment in validation}) == 138
    assert len({segment.participant_id for segment in validation}) == 32
    past_frames = [s for s in validation if s.stop_frame > info[s.video_id].duration * info[s.video_id].fps]
    assert len(past_frames) == 46
    assert [s.narration_id for s in validation if s.stop > info[s.video_id].duration] == ["P29_05_563"]
    rates = {}
    for segment in validation:
        rate = round(info[segment.video_id].fps, 2)
        rates[rate] = rates.get(rate, 0) + 1
    assert rates == {59.94: 9528, 29.97: 71, 47.95: 27, 90.0: 42}


def test_first_validation_row(validation):
    first = validation[0]
    assert (first.narration_id, first.video_id, first.start, first.stop) == ("P01_11_0", "P01_11", 0.0, 1.89)
    assert (first.start_frame, first.stop_frame, first.verb_class, first.noun_class) == (1, 113, 0, 2)
    assert all(0 <= s.verb_class < NUM_VERBS and 0 <= s.noun_class < NUM_NOUNS for s in validation)


def test_test_list_counts(test_list, tables):
    info = read_video_info(tables / "EPIC_100_video_info.csv")
    assert len(test_list) == 13092
    assert len({segment.video_id for segment in test_list}) == 67
    assert len({segment.participant_id for segment in test_list}) == 20
    assert {info[segment.video_id].fps for segment in test_list} == {50.0}
    lengths = [segment.stop_frame - segment.start_frame for segment in test_list]
    assert (sum(length < 16 for length in lengths), min(lengths), max(lengths)) == (75, 5, 10432)
    assert all(segment.verb_class is None and segment.noun_class is None for segment in test_list)


def test_frame_columns_follow_the_official_rule(validation, test_list):
    """floor(t * 60) and floor(t * 50), at least 1: so the times were read right.

    Where t times the rate is whole, the organisers' floating point sometimes fell just below it.
    """
    for segments, rate in ((validation, 60), (test_list, 50)):
        for segment in segments:
            whole, rest = divmod(round(segment.start * 100) * rate, 100)
            assert segment.start_frame in ((max(1, whole),) if rest else (max(1, whole), whole - 1))


def test_adaptation_lists(tables):
    lists = tables / "UDA_annotations"
    assert len(read_segments(lists / "EPIC_100_uda_source_train.csv")) == 16115
    target = read_segments(lists / "EPIC_100_uda_target_train_timestamps.csv")
    assert len(target) == 26115
    assert target[0].verb_class is None


def test_class_tables_and_id_lists(tables):
    verbs = read_class_names(tables / "EPIC_100_verb_classes.csv")
    nouns = read_class_names(tables / "EPIC_100_noun_classes.csv")
    assert (sorted(verbs), sorted(nouns)) == (list(range(97)), list(range(300)))
    assert (verbs[0], verbs[4], nouns[2]) == ("take", "close", "plate")
    assert len(read_ids(tables / "EPIC_100_tail_verbs.csv", "verb")) == 86
    assert len(read_ids(tables / "EPIC_100_tail_nouns.csv", "noun")) == 228
    assert read_ids(tables / "EPIC_100_unseen_participant_ids_validation.csv", "participant_id") == ["P18", "P32"]


def test_video_info(tables):
    info = read_video_info(tables / "EPIC_100_video_info.csv")
    assert len(info) == 700
    assert (info["P01_01"].duration, info["P01_01"].width, info["P12_05"].height) == (1652.152817, 1920, 1440)


@pytest.mark.parametrize(
    "text", ["00:00:01.89", "01:02:03.04", "00:59:59.99", "00:00:00.56", "00:00:00.560", "00:30:21.75"]
)
def test_timestamps_are_the_nearest_float(text):
    hours, minutes, seconds = text.split(":")
    assert parse_timestamp(text) == float(Decimal(hours) * 3600 + Decimal(minutes) * 60 + Decimal(seconds))


def test_three_digits_are_thousandths():
    assert parse_timestamp("00:00:01.089") == 1.089


@pytest.mark.parametrize(
    "text", ["1.89", "00:00:01", "00:60:00.00", "00:00:61.00", "00:00:01.8", "00:00:01.8912", "", "0:0:1.00"]
)
def test_other_timestamps_are_refused(text):
    with pytest.raises(ValueError, match=r"^"):
        parse_timestamp(text)


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("narration_id,participant_id,video_id,start_frame,stop_frame\nP01_01_0,P01,P01_01,1,2\n")
    with pytest.raises(DataError) as caught:
        read_segments(path)
    assert str(caught.value) == (
        f"{path}:1  missing column start_timestamp, stop_timestamp; the columns there are: narration_id, "
        "participant_id, video_id, start_frame, stop_frame"
    )


def test_a_single_label_column_is_refused(make_list, tmp_path):
    path = make_list(tmp_path / "list.csv", [("P01_01_0", "P01_01", 0, 1)], labels=True)
    path.write_text(path.read_text().replace("noun_class", "noun_klass", 1))
    with pytest.raises(DataError, match=r"list\.csv:1  missing column noun_class; .*verb_class"):
        read_segments(path)


def test_nouns_empty_throughout_are_a_list_of_verbs(make_list, tmp_path):
    rows = [("P01_01_0", "P01_01", 0, 1), ("P01_01_1", "P01_01", 2, 3)]
    path = make_list(tmp_path / "list.csv", rows, labels=True)
    table = pd.read_csv(path, dtype=str)
    table.assign(noun_class="").to_csv(path, index=False)
    segments = read_segments(path)
    assert [segment.noun_class for segment in segments] == [None, None]
    assert all(segment.verb_class is not None for segment in segments)
    # Empty in one row only is a mistake.
    table.assign(noun_class=["3", ""]).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"list\.csv:3  noun_class '': a whole number is expected"):
        read_segments(path)


def test_all_bad_rows_at_once(tmp_path):
    path = tmp_path / "list.csv"
    head = "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame"
    head += ",verb_class,noun_class"
    rows = [
        "P01_01_0,P01,P01_01,00:00:00.00,00:00:01.00,1,60,0,0",
        "P01_01_1,P01,P01_01,00:00:02.00,00:00:01.00,1,60,0,0",
        "P01_01_2,P01,P01_01,0.5,00:00:01.00,one,60,97,-1",
        "P01_01_0,P01,P01_01,00:00:00.00,00:00:01.00,1,60,0,300",
        ",P01,P01_01,00:00:00.00,00:00:01.00,1,60,x,0",
    ]
    path.write_text("\n".join([head, *rows]) + "\n")
    with pytest.raises(DataError) as caught:
        read_segments(path)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{path}: 9 problems")
    assert [line.split("  ")[0].rsplit(":", 1)[1] for line in lines[1:]] == [
        "3",
        "4",
        "4",
        "4",
        "4",
        "5",
        "5",
        "6",
        "6",
    ]
    for words in (
        "starts at 00:00:02.00, not before",
        "start_timestamp '0.5'",
        "start_frame 'one'",
        "verb_class 97",
        "noun_class -1",
        "already in line 2",
        "noun_class 300: the challenge has classes 0 to 299",
        "narration_id is empty",
        "verb_class 'x'",
    ):
        assert words in str(caught.value)


def test_many_problems_are_counted_not_poured_out(make_list, tmp_path):
    path = make_list(tmp_path / "list.csv", [(f"P01_01_{i}", "P01_01", 2, 1) for i in range(50)], labels=False)
    with pytest.raises(DataError, match=r"50 problems") as caught:
        read_segments(path)
    assert str(caught.value).splitlines()[-1] == "... and 30 more"
    assert len(str(caught.value).splitlines()) == 22


def test_row_cut_off(make_list, tmp_path):
    path = make_list(tmp_path / "list.csv", [("P01_01_0", "P01_01", 0, 1), ("P01_01_1", "P01_01", 1, 2)], labels=True)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(DataError, match=r"list\.csv:3  \d+ values under 15 columns"):
        read_segments(path)


def test_line_numbers_count_lines_of_quoted_text(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text('id,key\n0,"two\nlines"\nx,take\n')
    with pytest.raises(DataError, match=r"classes\.csv:4  id 'x'"):
        read_class_names(path)


def test_no_file_names_its_neighbours(tmp_path):
    (tmp_path / "EPIC_100_train.csv").touch()
    with pytest.raises(DataError, match=r"EPIC_100_trian\.csv: no such file; .* holds EPIC_100_train\.csv"):
        read_segments(tmp_path / "EPIC_100_trian.csv")
    with pytest.raises(DataError, match="is not there either"):
        read_segments(tmp_path / "nowhere" / "list.csv")


def test_empty_file_header_only_and_no_text(make_list, tmp_path):
    path = tmp_path / "list.csv"
    path.touch()
    with pytest.raises(DataError, match=r"missing column narration_id.*none \(the file is empty\)"):
        read_segments(path)
    make_list(path, [], labels=False)
    with pytest.raises(DataError, match="has a header and no rows"):
        read_segments(path)
    path.write_bytes(b"\x80\x81\xff")
    with pytest.raises(DataError, match="cannot be read as text"):
        read_segments(path)


def test_bad_video_info(tmp_path):
    path = tmp_path / "info.csv"
    path.write_text(
        "video_id,duration,fps,resolution\nP01_01,10.0,50,1920x1080\nP01_02,x,50,1920x1080\nP01_03,1,0,big\n"
    )
    with pytest.raises(DataError, match=r"2 problems") as caught:
        read_video_info(path)
    assert "info.csv:3  P01_02" in str(caught.value)
    assert "info.csv:4  P01_03" in str(caught.value)


def test_skip_list(tmp_path):
    path = tmp_path / "skip.txt"
    path.write_text("# cannot be decoded\nP01_01_0\n\n  P01_01_7  # black\n")
    assert read_skip_list(path) == {"P01_01_0", "P01_01_7"}
    path.write_text("P01_01_0 P01_01_1\n")
    with pytest.raises(DataError, match=r"skip\.txt:1 .*one narration id a line"):
        read_skip_list(path)
