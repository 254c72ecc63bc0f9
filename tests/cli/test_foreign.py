"""Scores that others publish as JSON: read, scored against the real lists, compared; and what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from epicsub.errors import PredictionsError
from epicsub.predictions import read_predictions
from epicsub.predictions.foreign import MMSADA_VERBS
from epicsub.validation import load_parts, make_lists
from tests.cli.conftest import Call

HEADER = {"version": "0.2", "challenge": "domain_adaptation", "sls_pt": 0, "sls_tl": 0, "sls_td": 0}


def entries(row: np.ndarray) -> dict[str, float]:
    return {str(number): float(score) for number, score in enumerate(row)}


def write(path: Path, rows: dict[str, object], results: str = "results_target") -> Path:
    path.write_text(json.dumps({results: rows, **HEADER}))
    return path


def eight_verbs(table: pd.DataFrame, seed: int, right: int, probable: bool = False) -> dict[str, object]:
    """A row a segment of a table of MM-SADA as TA3N writes it, with the best score on the true verb of `right` rows."""
    scores = np.random.default_rng(seed).normal(size=(len(table), 8))
    truth = table["verb_class"].to_numpy()  # MM-SADA's own numbers, 0 to 7
    chosen = np.where(np.arange(len(table)) < right, truth, (truth + 1) % 8)
    scores[np.arange(len(table)), chosen] = scores.max(axis=1) + 1
    if probable:
        scores = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    ids = table["video_id"] + "_" + table["uid"].astype(str)
    return {name: {"verb": entries(row), "noun": {}} for name, row in zip(ids, scores, strict=True)}


def test_a_run_of_ta3n_on_mmsadas_kitchens_is_scored_and_compared(
    command: Call, shared_data: Path, repository: Path, tmp_path: Path
) -> None:
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    assert tuple(protocol.verbs) == MMSADA_VERBS
    make_lists(protocol, tmp_path / "root" / "annotations", shared_data / "mm-sada-splits")
    table = pd.read_pickle(shared_data / "mm-sada-splits" / "D2_test.pkl")
    files = [
        write(tmp_path / "logits.json", eight_verbs(table, 0, 293)),
        write(tmp_path / "probabilities.json", eight_verbs(table, 1, 300, probable=True)),
    ]
    words = ("--protocol", "validation/mmsada.yaml:D1-D2", "--data", tmp_path / "root")
    done = command("validate", *files, *words, "--json", tmp_path / "scores.json")
    assert done.status == 0, done.err
    scored = json.loads((tmp_path / "scores.json").read_text())
    found = {name: round(one["scores"]["all_verb_accuracy_at_1"], 2) for name, one in scored.items()}
    assert found == {"logits": 39.07, "probabilities": 40.0}  # 293 and 300 of 750
    assert "EK55_1924" in read_predictions(files[0]).narration_ids


def test_the_organisers_classes_are_read_under_either_key(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    verb, noun = generator.normal(size=(2, 97)), generator.normal(size=(2, 300))
    rows = {
        name: {"verb": entries(v), "noun": entries(n)}
        for name, v, n in zip(("P01_101_0", "P01_101_1"), verb, noun, strict=True)
    }
    for key in ("results", "results_target"):
        read = read_predictions(write(tmp_path / "test.json", rows, key))
        assert read.narration_ids.tolist() == list(rows)
        expected = verb - np.log(np.exp(verb).sum(axis=1, keepdims=True))
        np.testing.assert_allclose(read.verb_logprobs, expected, atol=1e-5)


FULL = {"verb": entries(np.zeros(97)), "noun": entries(np.zeros(300))}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON: line 1"),
        ("[1, 2]", "holds a list; expected one of results or results_target"),
        (json.dumps({"results": {}}), "holds 'results'; expected"),
        (json.dumps({"results": {"P01_1_0": 3}}), "expected verb scores by class for P01_1_0"),
        (
            json.dumps({"results": {"P01_1_0": FULL, "P01_1_1": FULL | {"verb": {"0": 1.0}, "noun": {}}}}),
            r"verb scores .* 0 to 96, as they must be: P01_1_1 \(1\)\n.*noun scores .*: P01_1_1 \(0\)",
        ),
        (
            json.dumps({"results": {"P01_1_0": FULL | {"noun": FULL["noun"] | {"7": "high"}}}}),
            "noun scores that are no numbers, as they must be: P01_1_0",
        ),
        (
            json.dumps({"results": {"P01_11_1": {"verb": entries(np.zeros(8))}, "P01_11_2": FULL}}),
            r"verb scores are not of the classes 0 to 7, as they must be: P01_11_2 \(97\)",
        ),
    ],
    ids=["cut", "list", "empty", "no_verbs", "classes", "word", "mixed"],
)
def test_other_json_is_refused_by_row(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(PredictionsError, match=said) as caught:
        read_predictions(tmp_path / "x.json")
    assert all(line.startswith(str(tmp_path / "x.json")) for line in str(caught.value).splitlines())
