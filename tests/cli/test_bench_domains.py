"""epicsub bench domains: killed and resumed, it prints what it would have."""

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from epicsub.cli.bench_domains import _cell
from epicsub.predictions import read_predictions
from epicsub.studies.domain_runs import pairs_of, plan
from epicsub.studies.domains import summary

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

RECIPES = ["recipes/tiny/mmir_i3d.yaml"]
SETTINGS = [
    "train.stages.0.steps=1", "train.stages.1.steps=3", "train.stages.0.source_batch=5", "train.log_every=1",
    "train.stages.1.source_batch=5", "train.checkpoint_every=1", "train.mean_of_last=2", "train.mean_every=1",
    "model.width=0.0625", "data.workers=0", "data.size=32", "data.short_side=36", "data.frames=9",
]  # fmt: skip
PAIR = """\
  {source}-{target}:
    training_list: pairs/{source}_train.csv
    target_list: pairs/{target}_train.csv
    validation: {{list: pairs/{target}_test.csv, count: {count}}}
    test: {{list: pairs/{target}_test.csv, count: {count}}}
    published: {{MMIR: {figure}, Supervised: 80}}
"""


@pytest.fixture(scope="module")
def pairs(kitchens: Path, work: Path) -> dict[str, int]:
    """Two groups of the small kitchens' videos, verbs alone as in MM-SADA's lists, and a protocol of both ways."""
    folder = kitchens / "annotations"
    (folder / "pairs").mkdir()
    verbs, counts = set(), {}
    for part, name in (("train", "EPIC_100_train.csv"), ("test", "EPIC_100_validation.csv")):
        rows = list(csv.DictReader((folder / name).open()))
        for group, chosen in (("A", rows[::2]), ("B", rows[1::2])):
            with (folder / "pairs" / f"{group}_{part}.csv").open("w", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                table.writerows(row | {"noun_class": ""} for row in chosen)
            counts[group] = len(chosen)
        verbs |= {int(row["verb_class"]) for row in rows}
    head = f"name: pairs\ntasks: [verb]\nverbs: {sorted(verbs)}\nselection: none\npublished_remark: One run each.\n"
    both = (("A", "B", 40), ("B", "A", 50))
    made = [PAIR.format(source=s, target=t, count=counts[t], figure=figure) for s, t, figure in both]
    (work / "pairs.yaml").write_text(head + "parts:\n" + "".join(made))
    return counts


def words(kitchens: Path, out: str, *more: str, protocol: str = "pairs.yaml") -> list[str]:
    settings = [word for key in SETTINGS for word in ("--set", key)]
    return ["bench", "domains", *RECIPES, "--protocol", protocol, *settings, "--data", str(kitchens), "--out", out,
            "--seeds", "1,2", "--device", "cpu", *more]  # fmt: skip


def test_killed_and_run_again(command, kitchens, work, pairs) -> None:
    done = work / "outputs/killed_table/tiny_mmir_i3d/A-B/seed_1/result.json"
    begun = work / "outputs/killed_table/tiny_mmir_i3d/A-B/seed_2/last.pth"
    process = subprocess.Popen(
        [sys.executable, "-m", "epicsub", *words(kitchens, "outputs/killed_table")],
        cwd=work, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    while not begun.is_file():
        assert process.poll() is None, process.stderr.read().decode()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not begun.with_name("result.json").exists(), "the kill must fall inside the second run"
    before = done.stat().st_mtime_ns

    again = command(*words(kitchens, "outputs/killed_table", "--json", "killed.json"))
    assert again.status == 0, again.err
    assert "4 runs, 1 of them done" in again.err
    assert "resuming from step" in again.err
    assert done.stat().st_mtime_ns == before
    whole = command(*words(kitchens, "outputs/whole_table", "--json", "whole.json", protocol="pairs.yaml:A-B"))
    assert whole.status == 0, whole.err
    assert "2 runs, 0 of them done" in whole.err
    one, other = (json.loads((work / f"{name}.json").read_text()) for name in ("killed", "whole"))
    assert one["methods"]["tiny_mmir_i3d"]["A-B"] == other["methods"]["tiny_mmir_i3d"]["A-B"]
    assert list(other["methods"]["tiny_mmir_i3d"]) == ["A-B", "mean"]

    table = again.out[again.out.index("all_verb_accuracy_at_1, percent") :].splitlines()
    check_figures(one, work / "outputs/killed_table")
    text = "\n".join(table)
    found = one["methods"]["tiny_mmir_i3d"]["A-B"]
    assert f"{found['mean']:.1f} ± {found['deviation']:.1f}" in text
    assert [line.split() for line in table if "MMIR" in line] == [["published:", "MMIR", "40.0", "50.0", "45.0"]]
    assert "One run each." in text
    check_verbs_alone(work)
    check_refused_in_the_same_place(command, kitchens)


def check_figures(content: dict, out: Path) -> None:
    """Against the log of every run: the mean of its last two evaluations, and mean and deviation over seeds."""
    for method in ("tiny_mmir_i3d",):
        over = {1: [], 2: []}
        for pair in ("A-B", "B-A"):
            found = content["methods"][method][pair]
            for seed in (1, 2):
                log = (out / method / pair / f"seed_{seed}" / "metrics.jsonl").read_text().splitlines()
                lines = [line for line in map(json.loads, log) if line["kind"] == "validation"]
                assert [line["step"] for line in lines] == [3, 4]
                expected = statistics.mean(line["all_verb_accuracy_at_1"] for line in lines)
                assert found["seeds"][str(seed)] == pytest.approx(expected)
                over[seed].append(expected)
            figures = list(found["seeds"].values())
            assert found["mean"] == pytest.approx(sum(figures) / 2)
            assert found["deviation"] == pytest.approx(abs(figures[0] - figures[1]) / 2**0.5)
        both = [statistics.mean(figures) for figures in over.values()]
        assert content["methods"][method]["mean"]["mean"] == pytest.approx(sum(both) / 2)
        assert content["methods"][method]["mean"]["deviation"] == pytest.approx(abs(both[0] - both[1]) / 2**0.5)


def check_verbs_alone(work: Path) -> None:
    """The heads learnt verbs, and the nouns of a prediction say nothing."""
    run = work / "outputs/whole_table/tiny_mmir_i3d/A-B/seed_1"
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    assert "verb_accuracy" in line
    assert "noun_accuracy" not in line
    one, other = (torch.load(run.with_name(f"seed_{seed}") / "last.pth", weights_only=True)["model"] for seed in (1, 2))
    assert not any(torch.equal(one[name], other[name]) for name in one if "head.weight" in name)
    nouns = read_predictions(next(run.rglob("*.npz"))).noun_logprobs
    assert np.allclose(np.exp(nouns), 1 / 300)


def check_refused_in_the_same_place(command, kitchens: Path) -> None:
    """Another recipe does not go on where this one ended."""
    done = command(*words(kitchens, "outputs/killed_table", "--set", "adaptation.method=source_only"))
    assert done.status == 2
    assert "Traceback" not in done.err
    done = command(*words(kitchens, "outputs/killed_table", "--set", "model.dropout=0.3"))
    assert done.status == 2
    assert "result.json: of a run with other settings" in done.err


def test_what_cannot_make_a_table_is_refused(command, kitchens, work, pairs) -> None:
    done = command("bench", "domains", *RECIPES, "--protocol", "small.yaml", "--data", kitchens)
    assert (done.status, "small.yaml: has no target_list" in done.err) == (2, True)
    done = command(*words(kitchens, "outputs/none", "--seeds", "one"))
    assert (done.status, "--seeds one: expected integers" in done.err) == (2, True)
    twice = command(*words(kitchens, "outputs/none", "--seeds", "1,1"))
    assert (twice.status, "two recipes of one name, or a seed twice" in twice.err) == (2, True)


def test_every_kind_of_method_gets_its_lists(repository, work, pairs) -> None:
    recipes = [repository / "recipes/tiny" / f"{name}.yaml" for name in ("source_only", "supervised", "adversarial")]
    runs = plan(recipes, work / "pairs.yaml", [1], [], Path("x"))
    assert [(run.method, run.pair, run.loaded.recipe.data.source, run.loaded.recipe.data.target) for run in runs] == [
        ("tiny_source_only", "A-B", ("pairs/A_train.csv",), ()),
        ("tiny_source_only", "B-A", ("pairs/B_train.csv",), ()),
        ("tiny_supervised", "A-B", ("pairs/B_train.csv",), ()),
        ("tiny_supervised", "B-A", ("pairs/A_train.csv",), ()),
        ("tiny_adversarial", "A-B", ("pairs/A_train.csv",), ("pairs/B_train.csv",)),
        ("tiny_adversarial", "B-A", ("pairs/B_train.csv",), ("pairs/A_train.csv",)),
    ]


def test_a_shipped_protocol_is_found_by_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = pairs_of(Path("mmsada"))
    assert len(pairs) == 6
    assert list(pairs_of(Path("mmsada:D1-D2"))) == ["D1-D2"]


def test_a_run_that_diverged_stays_in_the_table() -> None:
    runs = [SimpleNamespace(method="m", pair=pair, seed=seed) for pair in ("A-B", "B-A") for seed in (1, 2)]
    results = [
        {"failed": None, "scores": {"top": figure}, "mean_of_last": {}}
        if figure
        else {"failed": "step 3", "scores": {}}
        for figure in (40.0, 50.0, None, 70.0)
    ]
    found = summary(runs, results, "top")["m"]
    assert (found["A-B"]["mean"], found["A-B"]["failed"]) == (45.0, [])
    assert found["A-B"]["deviation"] == pytest.approx(10 / 2**0.5)
    assert _cell(found["A-B"]) == "45.0 ± 7.1"
    assert (found["B-A"]["mean"], found["B-A"]["deviation"], found["B-A"]["failed"]) == (70.0, None, [1])
    assert (found["mean"]["mean"], found["mean"]["failed"]) == (60.0, [1])
    assert _cell(found["B-A"]) == "70.0 (1 of 2 failed)"
