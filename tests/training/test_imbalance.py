"""What the benchmark of losses and samplers says of its lists is what its figures were counted on."""

import json
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture(autouse=True)
def benchmarks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))


def test_rare_is_the_rarer_half_of_what_is_learnt_from_and_what_is_not_in_it() -> None:
    from imbalance import accuracies, counts

    kept = pd.DataFrame({"verb_class": [0, 0, 0, 1, 1, 2], "noun_class": [5, 5, 5, 5, 5, 6]})
    heldout = pd.DataFrame({"verb_class": [0, 1, 2, 3, 0], "noun_class": [5, 5, 5, 6, 6]})
    assert counts(kept, heldout) == {
        "segments": 6,
        "rare scored": {"verb": 3, "noun": 2, "action": 4},  # one of three verbs is frequent
        "verb": {"0": 3, "1": 2, "2": 1},
        "noun": {"5": 5, "6": 1},
    }
    predicted = {"verb": pd.Series([0, 1, 0, 0, 0]).to_numpy(), "noun": pd.Series([5, 5, 5, 6, 5]).to_numpy()}
    found = accuracies(predicted, heldout, kept)
    assert (found["rare verb"], found["rare noun"], found["rare action"]) == pytest.approx((100 / 3, 50.0, 25.0))


def test_the_kept_lists_are_those_that_the_kept_figures_are_of(repository: Path) -> None:
    from imbalance import planned_lists

    held = json.loads((repository / "benchmarks" / "results" / "imbalance.json").read_text())
    planned = planned_lists(held["settings"]["ratio"], held["settings"]["seeds"])
    assert held["lists"] == json.loads(json.dumps(planned))
    for scores in held["by_seed"].values():
        for one, of in zip(scores, held["lists"], strict=True):
            for task, count in of["rare scored"].items():
                hits = one[f"rare {task}"] * count / 100
                assert hits == pytest.approx(round(hits), abs=1e-9)
    first = [list(held["lists"][0][task].values()) for task in ("verb", "noun")]
    told = [f"{numbers[0]} to {numbers[-1]}" for numbers in first]
    page = " ".join((repository / "docs" / "evidence.md").read_text().split())
    assert f"({told[0]} segments per verb, {told[1]} per noun, in the first;" in page
    verbs, nouns, actions = held["lists"][0]["rare scored"].values()
    assert f"{verbs} have a rare verb, {nouns} a rare noun, {actions} either" in page
