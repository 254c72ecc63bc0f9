import numpy as np
import pytest

from epicsub.validation.classwise import class_mean, class_scores, class_table, confusion, task_classes
from epicsub.validation.scores import hits_of, join


def slow_class_mean(hits, classes):
    shares = []
    for name in sorted(set(classes)):
        of_class = [hit for hit, other in zip(hits, classes, strict=True) if other == name]
        shares.append(sum(of_class) / len(of_class))
    return 100 * sum(shares) / len(shares)


def test_by_hand():
    # Class 7: three of four; class 2: none of one.
    assert class_mean(np.array([1, 1, 1, 0, 0], bool), np.array([7, 7, 7, 7, 2])) == 37.5


def test_class_means_of_every_task_equal_a_slow_loop(make_labels, make_predictions):
    labels = make_labels()
    predictions = make_predictions(labels)
    joined = join(predictions, labels)
    hits = hits_of(predictions, joined)
    found = class_scores(hits, task_classes(joined))
    pairs = {
        "verb": list(labels["verb_class"]),
        "noun": list(labels["noun_class"]),
        "action": list(zip(labels["verb_class"], labels["noun_class"], strict=True)),
    }
    expected = {}
    for task, classes in pairs.items():
        expected[f"class_mean_{task}_accuracy_at_1"] = slow_class_mean(hits[task, 1].tolist(), classes)
        expected[f"mean_{task}_recall_at_5"] = slow_class_mean(hits[task, 5].tolist(), classes)
    assert found == pytest.approx(expected, rel=0, abs=1e-9)
    # The classes are far from equally frequent: were they weighed by it, the figures would be others.
    assert abs(expected["class_mean_verb_accuracy_at_1"] - 100 * hits["verb", 1].mean()) > 0.3


def test_the_table_of_classes():
    true, predicted = np.array([4, 4, 4, 4, 9, 2]), np.array([4, 2, 2, 6, 9, 4])
    table = class_table(true, true == predicted, np.array([1, 1, 0, 1, 1, 0], bool), predicted).set_index("class")
    assert table.index.tolist() == [2, 4, 6, 9]
    assert table.loc[4, ["segments", "top1", "top5", "precision", "taken_for"]].tolist() == [4, 25.0, 75.0, 50.0, 2]
    assert table.loc[9, ["precision", "taken_for"]].tolist() == [100.0, -1]
    # Given once, true never.
    assert table.loc[6, "segments"] == 0
    assert np.isnan(table.loc[6, "top1"])
    assert table.loc[6, "precision"] == 0


def test_actions_have_no_precision():
    table = class_table(np.array([3012, 3012]), np.array([True, False]), np.array([True, True]), None)
    assert table.columns.tolist() == ["class", "segments", "top1", "top5"]
    assert table.iloc[0].tolist() == [3012, 2, 50.0, 100.0]


def test_confusion_has_the_truth_in_rows():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 5, 80), rng.integers(0, 5, 80)
    matrix = confusion(true, predicted, 5)
    for row in range(5):
        for column in range(5):
            both = sum(t == row and p == column for t, p in zip(true, predicted, strict=True))
            assert matrix[row, column] == both
