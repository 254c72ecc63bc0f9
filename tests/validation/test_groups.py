import numpy as np
import pandas as pd
import pytest

from epicsub.validation.groups import breakdown, by_frame_rate, by_frequency, by_kitchen, by_length, by_seen_action
from epicsub.validation.scores import hits_of, join


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
    found = breakdown(hits, by_kitchen(joined))
    assert list(found) == ["P01", "P02", "P03"]
    assert found == slow_breakdown(hits, labels["participant_id"])
    fps = {video: 50.0 if int(video[-2:]) % 2 else 59.94005994 for video in labels["video_id"]}
    missing = fps.popitem()[0]
    rates = ["unknown" if v == missing else "50.00" if int(v[-2:]) % 2 else "59.94" for v in labels["video_id"]]
    found = breakdown(hits, by_frame_rate(joined, fps))
    assert list(found) == ["50.00", "59.94", "unknown"]
    assert found == slow_breakdown(hits, rates)


def test_lengths_include_their_lower_border():
    joined = pd.DataFrame({"seconds": [0.1, 0.5, 1.99, 2.0, 8.0, 147.0]})
    assert by_length(joined).of_task["verb"].tolist() == [
        "under 0.5 s", "0.5 to 1 s", "1 to 2 s", "2 to 4 s", "8 s and more", "8 s and more"
    ]  # fmt: skip


def test_groups_without_segments_are_left_out_and_the_order_stays(make_labels, make_predictions):
    labels = make_labels(40).assign(seconds=[9.0, 0.2] * 20)
    predictions = make_predictions(labels)
    joined = join(predictions, labels)
    assert list(breakdown(hits_of(predictions, joined), by_length(joined))) == ["under 0.5 s", "8 s and more"]


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
    groups = by_seen_action(joined, training).of_task
    assert groups["action"].tolist() == ["seen in training", "never seen", "never seen"]
    assert np.array_equal(groups["verb"], groups["action"])
