"""Class means, calibration and groups, each held against a slow definition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.validation.figures import (
    BINS,
    _by_frame_rate,
    _by_kitchen,
    _by_length,
    _by_seen_action,
    breakdown,
    by_frequency,
    class_mean,
    class_scores,
    class_table,
    confidences,
    confusion,
    reliability,
    task_classes,
)
from epicsub.validation.scores import hits_of, join


def slow_class_mean(hits, classes):
    shares = []
    for name in sorted(set(classes)):
        of_class = [hit for hit, other in zip(hits, classes, strict=True) if other == name]
        shares.append(sum(of_class) / len(of_class))
    return 100 * sum(shares) / len(shares)


def test_class_mean_by_hand():
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


def slow_error(confidence, hits):
    """Guo et al.: bins (m/M, (m+1)/M], the gap of means weighed by their share."""
    error = 0.0
    for m in range(BINS):
        inside = [i for i, p in enumerate(confidence) if m / BINS < p <= (m + 1) / BINS or (m == 0 and p == 0)]
        if inside:
            gap = sum(hits[i] for i in inside) / len(inside) - sum(confidence[i] for i in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(gap)
    return 100 * error


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_error_equals_the_slow_definition(rows):
    confidence, hits = (np.array(column) for column in zip(*rows, strict=True))
    # Products with BINS round; values that lie on a border are tried by hand below.
    near = np.abs(confidence * BINS - np.round(confidence * BINS)) < 1e-9
    confidence = np.where(near & (confidence > 0) & (confidence < 1), confidence * 0.99 + 0.003, confidence)
    assert reliability(confidence, hits).error == pytest.approx(slow_error(confidence, hits), abs=1e-9)


def test_calibration_by_hand():
    # Two bins: three segments at 0.9 of which one is right, one at 0.1 that is wrong.
    curve = reliability(np.array([0.9, 0.9, 0.9, 0.1]), np.array([True, False, False, False]))
    assert curve.error == pytest.approx(100 * (0.75 * (0.9 - 1 / 3) + 0.25 * 0.1))
    assert curve.counts.sum() == 4
    assert np.isnan(curve.accuracy[5])


def test_the_ends_fall_in_the_first_and_last_bin():
    curve = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert (curve.counts[0], curve.counts[-1], curve.error) == (1, 1, 0.0)


def test_a_calibrated_model_has_next_to_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.05, 1, 40000)
    assert reliability(confidence, rng.uniform(size=40000) < confidence).error < 1.5
    assert reliability(confidence, np.zeros(40000, bool)).error == pytest.approx(100 * confidence.mean())


def test_confidence_of_a_pair_is_the_product(make_labels, make_predictions):
    made = make_predictions(make_labels())
    found = confidences(made.verb_logprobs, made.noun_logprobs)
    verb, noun = np.exp(made.verb_logprobs.max(axis=1)), np.exp(made.noun_logprobs.max(axis=1))
    np.testing.assert_allclose(found["action"], verb * noun, rtol=1e-5)


def test_confidence_over_a_part_of_the_verbs_sums_to_one_again(make_labels, make_predictions):
    made = make_predictions(make_labels())
    few = made.verb_logprobs[:, [0, 3]]
    expected = np.exp(few).max(axis=1) / np.exp(few).sum(axis=1)
    np.testing.assert_allclose(confidences(few, made.noun_logprobs)["verb"], expected, rtol=1e-5)


def slow_breakdown(hits, names):
    """Group by group and segment by segment."""
    counted = {}
    for row, name in enumerate(names):
        for task in ("verb", "noun", "action"):
            cell = counted.setdefault(name, {}).setdefault(task, [0, 0, 0])
            cell[0] += 1
            cell[1] += bool(hits[task, 1][row])
            cell[2] += bool(hits[task, 5][row])
    return {
        name: {
            task: {"segments": n, "top1": pytest.approx(100 * a / n), "top5": pytest.approx(100 * b / n)}
            for task, (n, a, b) in tasks.items()
        }
        for name, tasks in counted.items()
    }


def test_kitchens_and_frame_rates(make_labels, make_predictions):
    labels = make_labels()
    predictions = make_predictions(labels)
    joined = join(predictions, labels)
    hits = hits_of(predictions, joined)
    found = breakdown(hits, _by_kitchen(joined))
    assert list(found) == ["P01", "P02", "P03"]
    assert found == slow_breakdown(hits, labels["participant_id"])
    fps = {video: 50.0 if int(video[-2:]) % 2 else 59.94005994 for video in labels["video_id"]}
    missing = fps.popitem()[0]
    rates = ["unknown" if v == missing else "50.00" if int(v[-2:]) % 2 else "59.94" for v in labels["video_id"]]
    found = breakdown(hits, _by_frame_rate(joined, fps))
    assert list(found) == ["50.00", "59.94", "unknown"]
    assert found == slow_breakdown(hits, rates)


def test_lengths_include_their_lower_border():
    joined = pd.DataFrame({"seconds": [0.1, 0.5, 1.99, 2.0, 8.0, 147.0]})
    assert _by_length(joined).of_task["verb"].tolist() == [
        "under 0.5 s", "0.5 to 1 s", "1 to 2 s", "2 to 4 s", "8 s and more", "8 s and more"
    ]  # fmt: skip


def test_groups_without_segments_are_left_out_and_the_order_stays(make_labels, make_predictions):
    labels = make_labels(40).assign(seconds=[9.0, 0.2] * 20)
    predictions = make_predictions(labels)
    joined = join(predictions, labels)
    assert list(breakdown(hits_of(predictions, joined), _by_length(joined))) == ["under 0.5 s", "8 s and more"]


def test_frequency():
    # Verb 0 has half of the training segments alone, so verb 1 is no head; verb 3 is the organisers' tail.
    training = pd.DataFrame({"verb_class": [0] * 50 + [1] * 30 + [2] * 15 + [3] * 5, "noun_class": [0] * 60 + [1] * 40})
    joined = pd.DataFrame({"verb_class": [0, 1, 2, 3, 0, 9], "noun_class": [0, 0, 0, 0, 1, 0]})
    groups = by_frequency(joined, training, tail_verbs=[3], tail_nouns=[5]).of_task
    assert groups["verb"].tolist() == ["head", "middle", "middle", "tail", "head", "middle"]
    assert groups["noun"].tolist() == ["head"] * 4 + ["middle", "head"]
    assert groups["action"].tolist() == ["head", "middle", "middle", "tail", "middle", "middle"]


def test_the_head_needs_more_classes_where_the_first_holds_too_few():
    training = pd.DataFrame({"verb_class": [4] * 40 + [2] * 35 + [0] * 25, "noun_class": 0})
    joined = pd.DataFrame({"verb_class": [4, 2, 0], "noun_class": 0})
    assert by_frequency(joined, training, [], []).of_task["verb"].tolist() == ["head", "head", "middle"]
    # A frequent class of the tail list, as small kitchens have, is in the tail.
    assert by_frequency(joined, training, [4], []).of_task["verb"].tolist() == ["tail", "head", "middle"]


def test_seen_actions_are_pairs():
    training = pd.DataFrame({"verb_class": [0, 1], "noun_class": [5, 6]})
    joined = pd.DataFrame({"verb_class": [0, 1, 0], "noun_class": [5, 5, 6]})
    groups = _by_seen_action(joined, training).of_task
    assert groups["action"].tolist() == ["seen in training", "never seen", "never seen"]
    assert np.array_equal(groups["verb"], groups["action"])
