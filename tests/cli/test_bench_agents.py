"""epicsub bench agents: what the agents took out, from a run's files."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import cv2
import pytest
import torch

from epicsub.data.batch import Batch, ClipBatch, LabelledClipBatch, Labels
from epicsub.training.run_folder import RemovalLog

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

AGENTS = {"rgb_source", "rgb_target", "flow_source", "flow_target"}


def test_what_each_agent_removed_and_how_often(command, kitchens, run, work) -> None:
    done = command(
        "bench", "agents", run, "--data", kitchens, "--out", work / "agents", "--segments", 12, "--device", "cpu"
    )
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (run / "removed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(5, 13))  # stage 2 alone adapts
    removed, seen = Counter(), Counter()
    for line in lines:
        assert line["removed"].keys() == AGENTS
        for agent, positions in line["removed"].items():
            batch = line[agent.split("_")[1]]
            assert len(positions) == len(batch) // 5  # one of every five candidates
            seen.update((agent, name) for name in batch)
            removed.update((agent, batch[position]) for position in positions)
    rows = list(csv.DictReader((work / "agents" / "removed.csv").open()))
    assert {(row["agent"], row["narration_id"]): int(row["seen"]) for row in rows} == seen
    assert {
        key: n for row in rows if (n := int(row["removed"])) and (key := (row["agent"], row["narration_id"]))
    } == removed
    assert all(float(row["share"]) == pytest.approx(int(row["removed"]) / int(row["seen"]), abs=5e-5) for row in rows)
    for name in ("curves.png", "most_removed.png", "features.png"):
        picture = cv2.imread(str(work / "agents" / name))
        assert picture.std() > 5, f"{name} is empty"
        assert f"wrote {work / 'agents' / name}" in done.out


def test_a_run_before_adaptation_stands_beside(command, kitchens, run, work) -> None:
    words = ["bench", "agents", run, "--data", kitchens, "--segments", 8, "--before", run, "--device", "cpu"]
    done = command(*words)
    assert done.status == 0, done.err
    assert (run / "agents" / "features.png").is_file()


def test_a_run_without_agents_is_refused(command, kitchens, run, work) -> None:
    other = work / "outputs" / "bare"
    other.mkdir()
    (other / "last.pth").symlink_to(run / "last.pth")
    done = command("bench", "agents", other, "--data", kitchens)
    assert done.status == 2
    assert "removed.jsonl: no such file. A run writes it where agents take instances out" in done.err


def test_the_libraries_for_pictures_are_named_where_they_are_missing(command, run, monkeypatch) -> None:
    for module in ("epicsub.studies.pictures", "epicsub.cli.bench_agents"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("epicsub.studies.pictures", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    done = command("bench", "agents", run)
    assert done.status == 2
    assert "sklearn.manifold is not here: pip install 'epicsub[studies]'" in done.err


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    zeros_B = torch.zeros(2, dtype=torch.int64)
    source = LabelledClipBatch(narration_ids=["a", "b"], clips={}, labels=Labels(verb_B=zeros_B, noun_B=zeros_B))
    batch = Batch(source, ClipBatch(narration_ids=["c"], clips={}))
    log = RemovalLog(tmp_path)
    for step in (1, 2, 3):
        log.add(step, batch, {"rgb_source": torch.tensor([step % 2])})
    log.add(4, batch, {})  # a step that does not adapt
    assert not log.path.exists()
    log.flush()
    with log.path.open("a") as file:
        file.write('{"step": 4, "sour')  # killed inside a line
    again = RemovalLog(tmp_path, resumed_step=2)
    again.add(3, batch, {"rgb_source": torch.tensor([0])})
    again.flush()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["step"], line["removed"]["rgb_source"]) for line in lines] == [(1, [1]), (2, [0]), (3, [0])]
    assert lines[0] == {"step": 1, "source": ["a", "b"], "target": ["c"], "removed": {"rgb_source": [1]}}
