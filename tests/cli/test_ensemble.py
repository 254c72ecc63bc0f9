"""Ensembles that are chosen, by the commands a user types, with a run and files of predictions as members."""

import json

import numpy as np
import pandas as pd
import pytest

import epicsub
from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions, read_predictions, save_predictions
from epicsub.submission.ensemble import Blend, Head
from epicsub.submission.pairs import read_ratio, rerank

pytestmark = pytest.mark.xdist_group("cli")
LEVELS = ["--sls-pt", 0, "--sls-tl", 3, "--sls-td", 4]
LISTS = {"val": "EPIC_100_validation.csv", "test": "EPIC_100_test_timestamps.csv"}


@pytest.fixture(scope="module")
def members(kitchens, work):
    """Two members as files, one of both lists and one of a file a list, that know something of the labels."""
    tables = {name: pd.read_csv(kitchens / "annotations" / file) for name, file in LISTS.items()}
    for member, strength in (("knows", 3.0), ("guesses", 0.5)):
        rng = np.random.default_rng(int(strength))
        made = {}
        for name, table in tables.items():
            scores = [rng.normal(size=(len(table), classes)) for classes in (97, 300)]
            if name == "val":
                for head, kind in zip(scores, ("verb_class", "noun_class"), strict=True):
                    head[np.arange(len(table)), table[kind]] += strength
            made[name] = Predictions.from_scores(table.narration_id, *scores)
            save_predictions(made[name], work / f"{member}_{name}.npz")
        both = [np.concatenate([getattr(made[n], key) for n in LISTS]) for key in vars(made["val"])]
        save_predictions(Predictions(*both), work / f"{member}.npz")
    return ["knows_val.npz,knows_test.npz", "guesses.npz"]


def submit(command, kitchens, members, *more):
    return command("submit", "--ensemble", *members, "--data", kitchens, "--protocol", "small.yaml", *LEVELS, *more)


def test_weights_are_searched_on_validation_and_applied_to_test(command, kitchens, members, run, work):
    words = ["--weights", "search", "--temperature", "--cooccurrence", "auto", "--name", "searched"]
    done = submit(command, kitchens, [*members, run], *words)
    assert done.status == 0, done.err
    assert "gain over the mean" in done.out
    assert "chosen by labels of EPIC_100_validation.csv, which small.yaml keeps for reporting" in done.out
    manifest = json.loads((work / "submissions" / "searched" / "manifest.json").read_text())
    told = manifest["ensemble"]
    assert told["learned_on"]["segments"] == 24
    assert set(told["cross_validated"]) == {"mean", "chosen", "gain", "folds"}
    heads = [
        Head(
            tuple(member["weight"][kind] for member in manifest["members"]),
            tuple(member["temperature"][kind] for member in manifest["members"]),
        )
        for kind in ("verb", "noun")
    ]
    assert (
        command(
            "predict", run, "--split", "test", "--data", kitchens, "--protocol", "small.yaml", "-o", "run.npz"
        ).status
        == 0
    )
    written = read_predictions(work / "submissions" / "searched" / "submission.pt")
    ids = written.narration_ids
    parts = [read_predictions(work / name).select(ids) for name in ("knows_test.npz", "guesses.npz", "run.npz")]
    expected = Blend("mean", *heads).apply(parts)
    ratio = read_ratio(kitchens / "annotations" / "EPIC_100_train.csv")
    expected = rerank(expected, ratio, told["cooccurrence"]["strength"])
    np.testing.assert_allclose(written.noun_logprobs, expected.noun_logprobs, atol=2e-3)
    np.testing.assert_allclose(written.verb_logprobs, expected.verb_logprobs, atol=2e-3)


@pytest.mark.parametrize("rule", ["mean", "logits", "rank"])
def test_rules_and_weights_by_hand(command, kitchens, members, work, rule):
    words = ["--rule", rule, "--weights", "3,1/0,1", "--cooccurrence", "0.5", "--name", rule]
    done = submit(command, kitchens, members, *words)
    assert done.status == 0, done.err
    assert "knows_test: weight 0.750 in verbs, 0.000 in nouns" in done.out
    written = read_predictions(work / "submissions" / rule / "submission.pt")
    parts = [read_predictions(work / name).select(written.narration_ids) for name in ("knows_test.npz", "guesses.npz")]
    expected = Blend(rule, Head((0.75, 0.25), (1.0, 1.0)), Head((0.0, 1.0), (1.0, 1.0))).apply(parts)
    expected = rerank(expected, read_ratio(kitchens / "annotations" / "EPIC_100_train.csv"), 0.5)
    np.testing.assert_allclose(written.noun_logprobs, expected.noun_logprobs, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--rule", "median", "--weights", "1,2,3"],
            ["--rule median: unknown; there are mean", "3 verb weights for 2"],
        ),
        (["--rule", "rank", "--temperature"], ["ranks do not change with the temperature"]),
        (["--rule", "rank", "--weights", "likelihood"], ["ranks have no likelihood"]),
        (["--cooccurrence", "2"], ["--cooccurrence 2: expected off, auto, or a strength from 0 to 1"]),
        (["--weights", "best", "--cooccurrence", "on"], ["equal, search, greedy or likelihood", "--cooccurrence on"]),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(command, kitchens, members, words, told):
    done = submit(command, kitchens, members, *words)
    assert done.status == 2
    assert all(text in done.err for text in told), done.err


def test_a_member_without_validation_predictions_cannot_be_weighed(command, kitchens, members):
    done = submit(command, kitchens, ["knows_test.npz", members[1]], "--weights", "search")
    assert done.status == 2
    assert "knows_test has no predictions for 24 of 24 segments" in done.err
    assert "VALIDATION.npz,TEST.npz" in done.err


def test_files_of_the_same_segments_are_not_one_member(command, kitchens, members):
    done = submit(command, kitchens, ["guesses.npz,knows_test.npz", "knows_val.npz"], "--weights", "1,1")
    assert done.status == 2
    assert "occur more than once" in done.err


def test_a_member_that_learned_the_validation_labels_is_refused(command, kitchens, members, work):
    words = ["train.stages.0.steps=1", "train.log_every=1", "data.workers=0", "--data", kitchens]
    source = "data.source=[EPIC_100_train.csv,EPIC_100_validation.csv]"
    done = command("train", "recipes/tiny/resnet_bilstm.yaml", source, *words, "--out", "outputs/both")
    assert done.status == 0, done.err
    done = submit(command, kitchens, [members[1], "both"], "--weights", "search")
    assert done.status == 2
    assert "both was trained with the labels of 24 of the 24 segments of EPIC_100_validation.csv" in done.err


def test_a_plan_ranks_and_says_what_it_knows(command, kitchens, members, run, work):
    words = ["--data", kitchens, "--protocol", "small.yaml", "--json", "plan.json"]
    done = command("ensemble", "plan", *members, run, *words)
    assert done.status == 0, done.err
    plan = json.loads((work / "plan.json").read_text())
    assert plan["places"][0]["member"] == "knows_test"
    assert {place["member"] for place in plan["places"]} == {"knows_test", "guesses", "short"}
    assert plan["places"][0]["alone"]["action@1"]["low"] <= plan["places"][0]["alone"]["action@1"]["value"]
    assert "chosen, cross-validated in 2 folds" in done.out
    again = command("ensemble", "plan", *members, run, *words)
    assert "predictions taken from" in again.err
    assert again.out == done.out


def test_views_against_their_cost(command, kitchens, members, run, work):
    words = ["--tta", "1x1", "--tta", "3x1", "--stop", "1", "--data", kitchens, "--protocol", "small.yaml"]
    done = command("ensemble", "views", run, *words, "--json", "views.json")
    assert done.status == 0, done.err
    rows = json.loads((work / "views.json").read_text())["rows"]
    assert [(row["views"], row["stop"]) for row in rows] == [("1x1", 0), ("1x1", 1), ("3x1", 0), ("3x1", 1)]
    assert [row["a_segment"] for row in rows[:3]] == [1, 1, 3]
    assert rows[3]["a_segment"] <= 3
    for full, some in ((0, 1), (2, 3)):
        for figure in ("verb@1", "noun@1", "action@1"):
            assert rows[full][figure] == rows[some][figure], "the best class is that of all views"
    refused = command("ensemble", "views", "knows_val.npz", "--data", kitchens, "--protocol", "small.yaml")
    assert refused.status == 2
    assert "has had its views" in refused.err


def test_every_damaged_member_is_named_at_once(command, kitchens, members, run, work):
    (work / "bad.pt").write_text("text")
    np.savez(
        work / "few.npz", narration_id=np.array(["x"]), verb_output=np.zeros((1, 125)), noun_output=np.zeros((1, 352))
    )
    done = submit(command, kitchens, [run, "bad.pt", members[1], "few.npz"])
    assert done.status == 2
    assert "bad: bad.pt: is a text that begins with 'text': name the file that was meant" in done.err
    assert "few: few.npz: 125 verb classes, 97 expected" in done.err
    assert "few: few.npz: 352 noun classes, 300 expected" in done.err


def test_a_notebook_joins_writes_and_checks_without_a_command(kitchens, members, work, monkeypatch):
    monkeypatch.chdir(work)
    lists = {"protocol": "small.yaml", "data": kitchens}
    joined = epicsub.ensemble(members, weights="0.7,0.3", **lists)
    parts = [read_predictions(work / name).select(joined.narration_ids) for name in ("knows_test.npz", "guesses.npz")]
    head = Head((0.7, 0.3), (1.0, 1.0))
    np.testing.assert_array_equal(joined.verb_logprobs, Blend("mean", head, head).apply(parts).verb_logprobs)
    with pytest.raises(SubmissionError, match="supervision level pretraining is not known for knows_test, guesses"):
        epicsub.write_submission(joined, "notebook")
    levels = {"pretraining": 0, "labels": 3, "data": 4}
    written = epicsub.write_submission(joined, "notebook", levels=levels)
    found = epicsub.check_submission(written.zip, **lists)
    assert (found.problems, found.segments) == ([], 20)
    assert "the 20 ids of" in found.against
    with pytest.raises(SubmissionError, match="supervision level pretraining is not known"):
        epicsub.ensemble(members, levels={}, **lists)
    assert epicsub.plan(members, **lists).places[0].name == "knows_test"
