import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from epicsub.predictions import Predictions
from epicsub.validation import (
    Background,
    Reference,
    compare,
    comparison,
    detail,
    load_protocol,
    read_background,
    show,
)
from epicsub.validation.detail import _cells, chosen_classes


def shown(*words):
    text = io.StringIO()
    console = Console(file=text, width=150)
    for part in show(*words):
        console.print(part, markup=False, highlight=False)
    return text.getvalue()


@pytest.fixture
def reference(make_labels):
    return Reference("small", make_labels(300), [6, 7], [10, 11], ["P03"])


@pytest.fixture
def background(make_labels):
    training = make_labels(500, seed=9, verbs=6)
    fps = dict.fromkeys(make_labels(500)["video_id"], 50.0)
    return Background(training, fps, {"verb": {0: "take", 1: "put"}, "noun": {2: "plate"}}, ())


def printed(*renderables):
    text = io.StringIO()
    console = Console(file=text, width=150)
    for renderable in renderables:
        console.print(renderable)
    return text.getvalue()


def test_every_part_is_there(reference, background, make_predictions):
    found = detail(make_predictions(reference.labels), reference, background)
    assert list(found.groups) == ["kitchen", "frame rate", "length", "training frequency", "action"]
    for parts in found.groups.values():
        assert sum(part["verb"]["segments"] for part in parts.values()) == 300
    assert found.videos == 12
    assert found.notes == ()
    scores = reference.evaluate(make_predictions(reference.labels)).scores
    assert set(found.intervals) == {*scores, *(name for name in found.scores if "calibration" not in name)}
    for name, value in (scores | found.scores).items():
        if "class_mean" not in name and "calibration" not in name and "mean" not in name:
            assert found.intervals[name].low < value < found.intervals[name].high, name


def test_confusion_and_classes_agree_with_the_accuracy(reference, background, make_predictions):
    made = make_predictions(reference.labels)
    found, scores = detail(made, reference, background), reference.evaluate(made).scores
    for task, size in (("verb", 97), ("noun", 300)):
        matrix = found.confusion[task]
        assert matrix.shape == (size, size)
        assert 100 * matrix.trace() / 300 == pytest.approx(scores[f"all_{task}_accuracy_at_1"])
        counts = reference.labels[f"{task}_class"].value_counts()
        assert all(matrix[name].sum() == count for name, count in counts.items())
        table = found.classes[task]
        assert (table["segments"] * table["top1"]).sum() / 300 == pytest.approx(scores[f"all_{task}_accuracy_at_1"])


def test_of_equal_classes_the_last_is_chosen_as_it_is_scored(reference):
    count = len(reference.labels)
    flat = Predictions.from_scores(
        reference.labels["narration_id"].tolist(), np.ones((count, 97)), np.ones((count, 300))
    )
    chosen = chosen_classes(flat, reference)
    assert set(chosen["verb"]) == {96}
    assert set(chosen["noun"]) == {299}
    few = Reference("few", reference.labels, [], [], [], ("verb",), (7, 0, 3, 1, 2, 4, 5, 6))
    assert set(chosen_classes(flat, few)["verb"]) == {7}


def test_the_detail_as_json(reference, background, make_predictions):
    made = make_predictions(reference.labels)
    evaluation, found = reference.evaluate(made), detail(made, reference, background)
    more = json.loads(json.dumps(found.as_json()))
    assert more["intervals"]["all_verb_accuracy_at_1"][0] < evaluation.scores["all_verb_accuracy_at_1"]
    assert sum(count for _, _, count in more["confusion"]["noun"]) == 300
    assert sum(point["segments"] for point in more["reliability"]["action"]) == 300
    assert more["interval_videos"] == 12


def test_cells_leave_the_zeros_out():
    assert _cells(np.array([[0, 2], [0, 0], [3, 0]])) == [[0, 1, 2], [2, 0, 3]]


def test_what_is_not_there_is_said(repository, tmp_path, make_labels, make_predictions):
    protocol = load_protocol(repository / "validation" / "ek100.yaml")
    (tmp_path / "EPIC_100_video_info.csv").write_text("video_id\nP01_01\n")
    labels = make_labels(60).drop(columns="seconds")
    background = read_background(protocol, tmp_path)
    found = detail(make_predictions(labels), Reference("small", labels, [], [], []), background)
    assert list(found.groups) == ["kitchen"]
    notes = "\n".join(found.notes)
    assert len(found.notes) == 5
    assert f"no scores by training frequency or seen action: {tmp_path / 'EPIC_100_train.csv'} is not there" in notes
    assert "no scores by frame rate: " in notes
    assert "missing column duration" in notes
    assert "no scores by length: the list has no start_timestamp" in notes


def test_the_background_is_read(repository, tmp_path, shared_data):
    folder = shared_data / "epic-100-annotations"
    for name in ("EPIC_100_video_info.csv", "EPIC_100_verb_classes.csv", "EPIC_100_noun_classes.csv"):
        (tmp_path / name).symlink_to(folder / name)
    pd.read_csv(folder / "EPIC_100_validation.csv").head(50).to_csv(tmp_path / "EPIC_100_train.csv", index=False)
    background = read_background(load_protocol(repository / "validation" / "ek100.yaml"), tmp_path)
    assert background.notes == ()
    assert len(background.training) == 50
    assert background.fps["P01_101"] == 50.0
    assert background.name("action", 1002) == "put plate"
    assert background.name("verb", 400) == "verb 400"


def test_the_tables_on_a_terminal(reference, background, make_predictions):
    made = make_predictions(reference.labels)
    found, evaluation = detail(made, reference, background), reference.evaluate(made)
    lines = shown("a", evaluation, found).splitlines()
    assert lines[0] == "coverage: 300 of 300 segments (small, a)"
    low, high = (f"{getattr(found.intervals['all_verb_accuracy_at_1'], end):.1f}" for end in ("low", "high"))
    at = next(row for row, line in enumerate(lines) if line.strip().startswith("all "))
    assert f"({low} {high})" in lines[at + 1]
    assert any("12 videos resampled whole" in line for line in lines)
    assert any("class-mean accuracy" in line for line in lines)
    for group in ("by kitchen", "by frame rate", "by length", "by training frequency", "by action"):
        assert any(line.strip().startswith(group) for line in lines)


def test_many_kitchens_are_left_to_the_files(background, make_labels, make_predictions):
    labels = make_labels(300)
    labels["participant_id"] = [f"P{n % 13:02d}" for n in range(300)]
    reference, made = Reference("small", labels, [], [], []), make_predictions(labels)
    text = shown("a", reference.evaluate(made), detail(made, reference, background))
    assert "by kitchen: 13 of them, in the files of --json and --report" in text


def test_one_video_has_no_interval(make_labels, make_predictions, background):
    labels = make_labels(40, videos=1)
    reference = Reference("small", labels, [], [], [])
    made = make_predictions(labels)
    found = detail(made, reference, background)
    assert found.intervals == {}
    text = shown("a", reference.evaluate(made), found)
    assert "no intervals: all segments are of one video" in text


def test_a_comparison_says_gain_or_noise(reference, make_predictions):
    weak, strong = (make_predictions(reference.labels, seed=1, rise=rise) for rise in (1.0, 4.0))
    text = printed(comparison("weak", "strong", *compare(weak, strong, reference)))
    assert "strong less weak, over the 300 segments that both predicted" in text
    row = next(line for line in text.splitlines() if "all action accuracy at 1" in line)
    assert row.split()[-1] == "gain"
    assert "< 0.001" in row
    same = printed(comparison("a", "b", *compare(weak, weak, reference)))
    assert same.count("noise") == 12
