import pandas as pd
import pytest
import yaml

from epicsub.data.annotations import read_segments
from epicsub.errors import ValidationError
from epicsub.predictions import Predictions
from epicsub.validation import load_parts, load_protocol, make_lists, read_reference
from epicsub.validation.detail import detail
from epicsub.validation.tables import read_background


@pytest.fixture
def shift(repository, tmp_path):
    """ek100_shift with small counts, and a training list of nine videos as the organisers write it."""
    content = yaml.safe_load((repository / "validation" / "ek100_shift.yaml").read_text())
    videos = ["P01_01", "P01_101", "P03_01", "P03_101", "P06_105", "P28_103", "P30_107", "P35_105", "P37_101"]
    rows = [(f"{video}_{n}", video[:3], video, n % 4, n) for video in videos for n in range(5)]
    columns = ["narration_id", "participant_id", "video_id", "verb_class", "noun_class"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "EPIC_100_train.csv", index=False)
    content["held_out"]["source"]["count"] = 45
    content["held_out"]["training"]["count"] = 15
    content["validation"]["count"] = 30
    (tmp_path / "shift.yaml").write_text(yaml.safe_dump(content))
    return load_protocol(tmp_path / "shift.yaml")


def test_whole_videos_of_2020_are_held_out(shift, tmp_path):
    written = make_lists(shift, tmp_path)
    assert {path.name: rows for path, rows in written.items()} == {
        "train.csv": 15,
        "validation.csv": 30,
        "unseen.csv": 5,
    }
    kept, held = (pd.read_csv(tmp_path / "ek100_shift" / name) for name in ("train.csv", "validation.csv"))
    assert set(kept["video_id"]) == {"P01_01", "P01_101", "P03_01"}  # another kitchen's 2020, and 2018
    assert set(held["video_id"]) == {"P03_101", "P06_105", "P28_103", "P30_107", "P35_105", "P37_101"}
    whole = pd.read_csv(tmp_path / "EPIC_100_train.csv")
    assert sorted([*kept["narration_id"], *held["narration_id"]]) == sorted(whole["narration_id"])
    assert kept.columns.tolist() == whole.columns.tolist()


def test_unseen_kitchens_are_those_without_training_videos(shift, tmp_path):
    # Here P06, P28 and P30 have no 2018 videos; with one, they are seen.
    path = tmp_path / "EPIC_100_train.csv"
    path.write_text(path.read_text().replace("P01_01_", "P06_01_").replace(",P01,P01_01,", ",P06,P06_01,"))
    make_lists(shift, tmp_path)
    assert (tmp_path / "ek100_shift" / "unseen.csv").read_text() == "participant_id\nP28\nP30\nP35\nP37\n"


def test_nothing_is_written_where_counts_differ(shift, tmp_path):
    path = tmp_path / "EPIC_100_train.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "P37" not in line))
    with pytest.raises(ValidationError) as caught:
        make_lists(shift, tmp_path)
    text = str(caught.value)
    assert "no video is named P37_1??" in text
    assert "40 segments for EPIC_100_train.csv, 45 expected" in text
    assert "25 segments for ek100_shift/validation.csv, 30 expected" in text
    assert not (tmp_path / "ek100_shift").exists()


def test_the_four_kitchens_of_the_shift_are_the_organisers_target_validation(shared_data, repository):
    """7,906 of the stated 11,340 can be counted without the training list: the UDA pair's target is these videos."""
    folder = shared_data / "epic-100-annotations"
    target = pd.read_csv(folder / "UDA_annotations" / "EPIC_100_uda_target_val.csv")
    info = pd.read_csv(folder / "EPIC_100_video_info.csv")
    elsewhere = set(pd.read_csv(folder / "EPIC_100_validation.csv")["video_id"])
    elsewhere |= set(pd.read_csv(folder / "EPIC_100_test_timestamps.csv")["video_id"])
    of_2020 = info[info["video_id"].str.fullmatch(r"P(03|06|28|30)_1\d\d") & ~info["video_id"].isin(elsewhere)]
    assert set(target["video_id"]) == set(of_2020["video_id"])
    assert len(target) == 7906
    protocol = load_protocol(repository / "validation" / "ek100_shift.yaml")
    assert protocol.validation.count - 7906 == 37455 - 26115 - 7906
    assert protocol.validation.count + protocol.held_out.training.count == protocol.held_out.source.count


def test_the_real_uda_lists_have_their_counts(shared_data, repository):
    protocol = load_protocol(repository / "validation" / "uda.yaml")
    reference = read_reference(protocol, shared_data / "epic-100-annotations")
    assert len(reference.labels) == 7906
    assert (reference.tail_verbs, reference.unseen) == ([], [])


@pytest.fixture(scope="session")
def mmsada(shared_data, repository, tmp_path_factory):
    """The real tables as CSV."""
    folder = tmp_path_factory.mktemp("annotations")
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    make_lists(protocol, folder, shared_data / "mm-sada-splits")
    return folder


def test_mmsada_lists_have_the_counts_and_verbs_of_ek100(mmsada, shared_data):
    official = pd.read_csv(shared_data / "epic-100-annotations" / "EPIC_100_validation.csv")
    times = ["video_id", "start_timestamp", "stop_timestamp"]
    agree = 0
    for name in ("D1", "D2", "D3"):
        test = pd.read_csv(mmsada / "mmsada" / f"{name}_test.csv")
        both = test.merge(official, on=times, suffixes=("", "_ek100"))
        assert len(both) == len(test)  # every test segment is one of EK100's validation list
        agree += (both["verb_class"] == both["verb_class_ek100"]).sum()
    assert agree == 2052  # of 2,159: a wrong renumbering would agree in few


def test_mmsada_lists_are_read_as_verbs_alone(mmsada):
    segments = read_segments(mmsada / "mmsada" / "D2_train.csv")
    assert len(segments) == 2495
    assert {segment.noun_class for segment in segments} == {None}
    assert {segment.verb_class for segment in segments} == {0, 1, 2, 3, 4, 7, 9, 10}
    assert segments[0].narration_id == "EK55_0"


def test_only_the_named_verbs_are_ranked_and_only_verbs_scored(mmsada, repository, make_predictions):
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    reference = read_reference(protocol, mmsada)
    labels = reference.labels.assign(noun_class=0)
    made = make_predictions(labels.assign(verb_class=labels["verb_class"] % 8))
    verb = made.verb_logprobs.copy()
    truth = labels["verb_class"].to_numpy()
    verb[range(750), truth] = -3.0
    verb[:, 50] = 5.0  # another verb, above all others everywhere
    others = sorted({0, 1, 2, 3, 4, 7, 9, 10})
    made = Predictions.from_scores(made.narration_ids, verb, made.noun_logprobs)
    evaluation = reference.evaluate(made)
    expected = [max(others, key=lambda c: (row[c], c)) == label for row, label in zip(verb, truth, strict=True)]
    assert evaluation.scores.keys() == {"all_verb_accuracy_at_1", "all_verb_accuracy_at_5"}
    assert evaluation.scores["all_verb_accuracy_at_1"] == pytest.approx(100 * sum(expected) / 750)
    found = detail(made, reference, read_background(protocol, mmsada))
    assert found.confusion["verb"].sum() == 750
    assert found.confusion["verb"][:, 50].sum() == 0
    assert found.confusion.keys() == {"verb"}
    assert found.groups["kitchen"]["P01"]["verb"]["segments"] == 750


def test_labels_outside_the_named_verbs_are_refused(mmsada, repository, tmp_path):
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    text = (mmsada / "mmsada" / "D2_test.csv").read_text().replace(",take,0,", ",take,60,", 1)
    (tmp_path / "mmsada").mkdir()
    (tmp_path / "mmsada" / "D2_test.csv").write_text(text)
    reference = read_reference(protocol, tmp_path)
    ids = reference.labels["narration_id"].tolist()
    made = Predictions.from_scores(ids, [[0.0] * 97] * 750, [[0.0] * 300] * 750)
    with pytest.raises(ValidationError, match=r"must be one of 0, 1, 2, 3, 4, 7, 9, 10, and is not for EK55_1924"):
        reference.evaluate(made)


def test_pickles_that_are_missing_or_no_table_are_all_named(repository, tmp_path):
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    pd.DataFrame({"uid": [1]}).to_pickle(tmp_path / "D1_test.pkl")
    pd.Series([1]).to_pickle(tmp_path / "D1_train.pkl")
    with pytest.raises(ValidationError) as caught:
        make_lists(protocol, tmp_path / "annotations", tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    assert "D1_train.pkl: holds a Series, a table of segments expected" in lines[0]
    assert "D1_test.pkl: no column participant_id, video_id, " in lines[1]
    assert all("no such file; name the folder of MM-SADA's pickles with --from" in line for line in lines[2:])
    assert not (tmp_path / "annotations").exists()


def test_a_protocol_of_published_lists_makes_none(repository, tmp_path):
    with pytest.raises(ValidationError, match="protocol ek100: its lists are published as they are"):
        make_lists(load_protocol(repository / "validation" / "ek100.yaml"), tmp_path)
