"""Target labels cannot be reached, and no narration is in both domains."""

from dataclasses import replace

import pytest

from epicsub.data.annotations import read_segments
from epicsub.data.domains import check_domains, load_source, load_target
from epicsub.data.root import DataRoot
from epicsub.errors import DataError


def rows(video, count):
    return [(f"{video}_{number}", video, number, number + 0.5) for number in range(count)]


@pytest.fixture
def root(make_list, tmp_path):
    folder = tmp_path / "annotations"
    make_list(folder / "train.csv", rows("P01_01", 10), labels=True)
    make_list(folder / "more.csv", rows("P02_01", 5), labels=True)
    make_list(folder / "validation.csv", rows("P03_01", 7), labels=True)
    make_list(folder / "test.csv", rows("P04_101", 4), labels=False)
    return DataRoot(tmp_path)


def test_source_keeps_labels_and_order(root):
    segments = load_source(root, ["train.csv", "more.csv"], {"P01_01_3"})
    assert len(segments) == 14
    assert segments[0].narration_id == "P01_01_0"
    assert [s.verb_class for s in segments[:4]] == [0, 1, 2, 4]


def test_target_has_no_labels_though_its_list_has(root):
    assert read_segments(root.annotations("validation.csv"))[3].verb_class == 3
    lists = load_target(root, ["validation.csv", "test.csv"], {"P03_01_6"})
    assert [len(segments) for segments in lists] == [6, 4]
    for segments in lists:
        for segment in segments:
            assert segment.verb_class is None
            assert segment.noun_class is None
            # and nothing else of the object leads to them
            assert all(value is None or isinstance(value, (str, int, float)) for value in
                       (getattr(segment, name) for name in type(segment).__slots__))  # fmt: skip


def test_all_that_a_target_segment_says_is_the_same_for_other_labels(root, make_list):
    """Change every label of the list: what training gets stays the same to the last bit."""
    before = load_target(root, ["validation.csv"])
    path = root.annotations("validation.csv")
    text = path.read_text()
    for number in range(7):
        text = text.replace(f"take,{number},plate,{number},", f"put,{90 - number},cup,{200 + number},")
    path.write_text(text)
    assert read_segments(path)[3].verb_class == 87
    assert load_target(root, ["validation.csv"]) == before


def test_unlabelled_source(root):
    with pytest.raises(DataError, match=r"test\.csv: has no verb_class and noun_class; a source list needs labels"):
        load_source(root, ["train.csv", "test.csv"])


def test_narrations_in_two_lists(root, make_list):
    make_list(root.path / "annotations" / "again.csv", rows("P01_01", 8), labels=True)
    with pytest.raises(DataError, match=r"8 narration ids are in both train\.csv and again\.csv: P01_01_0, .*, \.\.\."):
        load_source(root, ["train.csv", "again.csv"])
    with pytest.raises(DataError, match=r"10 narration ids are in both train\.csv and train\.csv"):
        load_source(root, ["train.csv", "train.csv"])
    with pytest.raises(DataError, match=r"8 narration ids are in both again\.csv and train\.csv"):
        load_target(root, ["again.csv", "train.csv"])


def test_nothing_left(root):
    with pytest.raises(DataError, match=r"test\.csv: all segments \(4\) are in the skip list"):
        load_target(root, ["test.csv"], {f"P04_101_{number}" for number in range(4)})


def test_check_domains(root):
    source, target = load_source(root, ["train.csv"]), load_target(root, ["validation.csv", "test.csv"])
    check_domains(source, target)
    check_domains(source, [])
    with pytest.raises(DataError) as caught:
        check_domains(
            [*source, replace(source[0], narration_id="bare", verb_class=None)],
            [[replace(target[0][0], noun_class=4)], [replace(source[2], verb_class=None, noun_class=None)]],
        )
    assert str(caught.value).splitlines() == [
        "1 narration id is in both the source lists and target list 2: P01_01_2; take them out of one",
        "1 source segments have no labels: bare; name a list that has them as target",
        "1 target segments carry labels: P03_01_0; take them from load_target",
    ]


def test_a_list_of_verbs(root):
    path = root.annotations("train.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()]
    noun = lines[0].index("noun_class")
    for line in lines[1:]:
        line[noun] = ""
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    with pytest.raises(DataError, match=r"noun_class is empty throughout; train verbs only with classes\.nouns=false"):
        load_source(root, ["train.csv"])
    segments = load_source(root, ["train.csv", "more.csv"], nouns=False)  # the second list has nouns: they are left
    assert [s.verb_class for s in segments[:4]] == [0, 1, 2, 3]
    assert {s.noun_class for s in segments} == {None}
    check_domains(segments, load_target(root, ["validation.csv"]))
    with pytest.raises(DataError, match=r"verb_class is none of classes\.verbs \(0, 1, 2\) for 7: P01_01_3, "):
        load_source(root, ["train.csv"], verbs=(2, 1, 0), nouns=False)


def test_a_source_where_some_segments_have_nouns(root):
    segments = load_source(root, ["train.csv"])
    with pytest.raises(DataError, match="1 source segments have no labels: P01_01_0"):
        check_domains([replace(segments[0], noun_class=None), *segments[1:]], load_target(root, ["validation.csv"]))
