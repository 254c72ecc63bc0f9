"""A run on two processes: each scores its share of the validation list, and the scores are the checkpoint's own."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from epicsub.data.annotations import read_segments
from epicsub.data.features.store import FeatureStore

pytestmark = pytest.mark.xdist_group("cli")

SETTINGS = [
    "train.stages.0.steps=2", "train.stages.1.steps=2", "train.evaluate_every=4", "train.devices=2",
    "train.select=last", "train.log_every=4", "evaluation.protocol=small.yaml", "evaluation.batch_size=9",
]  # fmt: skip


def test_two_processes_score_what_the_checkpoint_scores(
    command, kitchens: Path, fresh_process: Callable, tmp_path: Path
) -> None:
    """24 segments in batches of 9: two for the first process, one for the second. The model has batch norms."""
    shutil.copytree(kitchens / "annotations", tmp_path / "annotations")
    lists = ("EPIC_100_train.csv", "EPIC_100_validation.csv")
    ids = [s.narration_id for name in lists for s in read_segments(tmp_path / "annotations" / name)]
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(len(ids), 256, generator=generator) for name in ("rgb", "flow")}
    FeatureStore(tmp_path / "features/source_only", {"model": "made up"}).add(ids, features)
    words = [*SETTINGS, "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    done = fresh_process("-m", "epicsub", "train", "recipes/tiny/features_source_only.yaml", *words)
    assert done.returncode == 0, done.stderr
    assert "validation: 2 of 2" in done.stderr
    assert "validation: 1 of 1" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    during = next(line for line in lines if line["kind"] == "validation")
    path = tmp_path / "scores.json"
    words = ("validate", tmp_path / "run/last.pth", "--data", tmp_path, "--protocol", "small.yaml", "--json", path)
    alone = command(*words)
    assert alone.status == 0, alone.err
    (entry,) = json.loads(path.read_text()).values()
    assert entry["coverage"] == {"segments": 24, "of": 24}
    assert entry["scores"] == {name: during[name] for name in entry["scores"]}
    assert during["all_verb_accuracy_at_5"] > 0
