import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from epicsub.errors import ValidationError
from epicsub.predictions import Predictions
from epicsub.validation import evaluate, load_protocol, read_reference, show


@pytest.fixture
def protocol(repository):
    return load_protocol(repository / "validation" / "tiny.yaml")


@pytest.fixture
def annotations(tmp_path, protocol):
    """A folder of tables as the organisers write them: 240 segments, half of them of an unseen kitchen."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "annotations"
    folder.mkdir()
    pd.DataFrame(
        {
            "narration_id": [f"P0{1 + n % 2}_01_{n}" for n in range(240)],
            "participant_id": [f"P0{1 + n % 2}" for n in range(240)],
            "video_id": [f"P0{1 + n % 2}_01" for n in range(240)],
            "narration_timestamp": ["" for _ in range(240)],
            "verb_class": rng.integers(0, 8, 240),
            "noun_class": rng.integers(0, 12, 240),
            "all_nouns": ["['plate', 'cup']"] * 240,
        }
    ).to_csv(folder / protocol.validation.list, index=False)
    pd.DataFrame({"narration_id": [f"P01_101_{n}" for n in range(160)], "video_id": "P01_101"}).to_csv(
        folder / protocol.test.list, index=False
    )
    (folder / protocol.tail_verbs).write_text("verb\n6\n7\n")
    (folder / protocol.tail_nouns).write_text("noun\n11\n")
    (folder / protocol.unseen_validation).write_text("participant_id\nP02\n")
    return folder


def predictions_for(annotations, protocol, count=240):
    labels = pd.read_csv(annotations / protocol.validation.list).iloc[:count]
    verb, noun = np.zeros((count, 97)), np.zeros((count, 300))
    verb[np.arange(count), labels["verb_class"]] = 5
    noun[np.arange(count), labels["noun_class"]] = 5
    return Predictions.from_scores(labels["narration_id"].tolist(), verb, noun)


def shown(evaluation):
    text = io.StringIO()
    console = Console(file=text, width=120)
    for part in show("outputs/a/best.pth", evaluation):
        console.print(part, markup=False, highlight=False)
    return text.getvalue()


def test_the_whole_list(annotations, protocol):
    evaluation = evaluate(predictions_for(annotations, protocol), protocol, annotations)
    assert (evaluation.segments, evaluation.of) == (240, 240)
    assert len(evaluation.scores) == 12
    assert set(evaluation.scores.values()) == {100.0}
    assert evaluation.sizes["unseen"] == 120
    assert shown(evaluation).startswith("coverage: 240 of 240 segments (tiny, outputs/a/best.pth)\n")


def test_a_part_of_the_list_says_so_everywhere(annotations, protocol, tmp_path):
    evaluation = evaluate(predictions_for(annotations, protocol, 33), protocol, annotations)
    text = shown(evaluation)
    assert text.splitlines()[0].startswith("coverage: 33 of 240")
    assert text.count("coverage: 33 of 240") == 2  # the first line and the table
    assert evaluation.as_json() == {
        "protocol": "tiny",
        "coverage": {"segments": 33, "of": 240},
        "scores": evaluation.scores,
    }


def test_a_score_over_nothing_is_said_not_zero(annotations, protocol):
    (annotations / protocol.unseen_validation).write_text("participant_id\nP09\n")
    evaluation = evaluate(predictions_for(annotations, protocol), protocol, annotations)
    assert not any(name.startswith("unseen") for name in evaluation.scores)
    row = next(line for line in shown(evaluation).splitlines() if "unseen kitchens" in line)
    assert row.split() == ["unseen", "kitchens", "none"]


def test_the_table_has_the_figures(annotations, protocol):
    made = predictions_for(annotations, protocol)
    wrong = Predictions(made.narration_ids, np.roll(made.verb_logprobs, 1, axis=1), made.noun_logprobs)
    lines = shown(evaluate(wrong, protocol, annotations)).splitlines()
    row = next(line for line in lines if line.strip().startswith("all"))
    assert row.split()[:3] == ["all", "240", "0.00"]
    assert row.split()[4] == "100.00"


def test_predictions_outside_the_list_are_refused(annotations, protocol):
    made = predictions_for(annotations, protocol, 3)
    other = Predictions(np.array(["P01_101_0", "P01_01_0", "P01_101_1"]), made.verb_logprobs, made.noun_logprobs)
    with pytest.raises(
        ValidationError, match=r"2 of 3 predicted segments are not .*: P01_101_0, P01_101_1; the list has .*; are these"
    ):
        evaluate(other, protocol, annotations)


def test_a_list_without_labels_cannot_be_scored(annotations, protocol):
    unlabelled = protocol.model_copy(update={"validation": protocol.test})
    with pytest.raises(ValidationError, match=r"EPIC_100_test_timestamps.csv: this list has no labels"):
        evaluate(predictions_for(annotations, protocol), unlabelled, annotations)


def test_another_count_names_both_and_the_way_out(annotations, protocol):
    path = annotations / protocol.validation.list
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:101]))
    made = predictions_for(annotations, protocol, 100)
    with pytest.raises(ValidationError, match=r"100 segments, 240 expected; .* say --count 100"):
        evaluate(made, protocol, annotations)
    assert evaluate(made, protocol, annotations, count=100).of == 100


def test_all_problems_of_the_tables_at_once(annotations, protocol):
    (annotations / protocol.tail_verbs).unlink()
    (annotations / protocol.tail_nouns).write_text("noun\n11\nfork\n")
    (annotations / protocol.unseen_validation).write_text("name\nP02\n")
    path = annotations / protocol.validation.list
    table = pd.read_csv(path).astype({"verb_class": object})
    table.loc[3, "verb_class"] = ""
    table.to_csv(path, index=False)
    with pytest.raises(ValidationError) as caught:
        read_reference(protocol, annotations)
    text = str(caught.value)
    assert len(text.splitlines()) == 4
    assert "EPIC_100_validation.csv: expected class ids as verb_class: line 5 ('')" in text
    assert "EPIC_100_tail_verbs.csv: no such table" in text
    assert "EPIC_100_tail_nouns.csv: expected class ids as noun: line 3 ('fork')" in text
    assert "no column participant_id; it has name" in text


def test_a_missing_column_is_named(annotations, protocol):
    path = annotations / protocol.validation.list
    pd.read_csv(path).drop(columns="noun_class").to_csv(path, index=False)
    with pytest.raises(ValidationError, match="no column noun_class; it has narration_id, participant_id"):
        read_reference(protocol, annotations)


def test_ids_that_occur_twice(annotations, protocol):
    path = annotations / protocol.validation.list
    table = pd.read_csv(path)
    pd.concat([table, table[7:8]]).to_csv(path, index=False)
    with pytest.raises(ValidationError) as caught:
        read_reference(protocol, annotations)
    assert "more than once, keep each once: P02_01_7" in str(caught.value)
    assert "241 segments, 240 expected" in str(caught.value)


def test_the_real_lists_have_their_counts(shared_data, repository):
    folder = shared_data / "epic-100-annotations"
    protocol = load_protocol(repository / "validation" / "ek100.yaml")
    reference = read_reference(protocol, folder)
    assert len(reference.labels) == 9668
    assert (len(reference.tail_verbs), len(reference.tail_nouns), reference.unseen) == (86, 228, ["P18", "P32"])
