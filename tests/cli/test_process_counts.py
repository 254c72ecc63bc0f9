"""A recipe means the same on one process and on two: losses, agents' picks, replay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from epicsub.recipe import load_recipe

pytestmark = pytest.mark.xdist_group("cli")

STEPS = 20
METHODS = {
    "source_only": {},
    "adversarial": {},
    "mmd": {},
    "mcd": {},
    "mcd_three": {"updates": "three"},
    "mm_sada": {},
    "contrastive": {"confidence": 0.02},  # so that target clips have positives from the start
    "mmir_plus": {},
    "mmir": {"replay_size": 30, "replay_batch": 6},
    "mmir_parts": {"replay_size": 30, "replay_batch": 6},
}
TRAIN_ALL = """\
import sys
from epicsub.api.train import train

for recipe in sys.argv[3:]:
    name = recipe.rpartition("/")[2].removesuffix(".yaml")
    train(recipe, ["train.devices=auto"], data=sys.argv[1], out=f"{sys.argv[2]}/{name}_two")
"""


def written(name: str, folder: Path, repository: Path) -> Path:
    """A recipe of 5 + 15 steps on features, with batch norm, without dropout; 15 clips divide unequally by two."""
    method, _, variant = name.partition("_") if name in ("mcd_three", "mmir_parts") else (name, "", "")
    shipped = "features_mmir" if method == "mmir" else method
    section = yaml.safe_load((repository / f"recipes/tiny/{shipped}.yaml").read_text())["adaptation"]
    content = load_recipe(repository / "recipes/tiny/features_mmir.yaml").recipe.model_dump(mode="json")
    content["adaptation"] = section | METHODS[name]
    if variant == "three":
        del content["adaptation"]["lam_max"]
    if method == "source_only":
        content["data"]["target"], content["supervision"]["data"] = [], 3
    content["model"]["dropout"] = 0.0
    source, target = (20, 20) if variant == "parts" else (15, 10)
    for stage, steps in zip(content["train"]["stages"], (5, STEPS - 5), strict=True):
        alone = method == "source_only" or (steps == 5 and method != "mm_sada")
        stage.update(steps=steps, source_batch=source, target_batch=0 if alone else target)
    content["train"].update(log_every=1, checkpoint_every=STEPS, accumulate=2 if variant == "parts" else 1)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def runs(command, runs_root: Path, repository: Path) -> Path:
    """The runs of all methods: NAME on this process, NAME_two on two that torchrun has started."""
    recipes = [written(name, runs_root, repository) for name in METHODS]
    script = runs_root / "train_all.py"
    script.write_text(TRAIN_ALL)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*map(str, words), str(runs_root), str(runs_root), *map(str, recipes)],
        env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert two.returncode == 0, two.stderr
    for name, recipe in zip(METHODS, recipes, strict=True):
        one = command("train", recipe, "--data", runs_root, "--out", runs_root / name)
        assert one.status == 0, one.err
    return runs_root


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_train_as_one(runs: Path, name: str) -> None:
    one, two = (
        [json.loads(line) for line in (runs / folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (name, f"{name}_two")
    )
    assert len(one) == len(two) == STEPS
    for before, after in zip(one, two, strict=True):
        assert before.keys() == after.keys()
        for key in (key for key in before if key.startswith("loss")):
            assert after[key] == pytest.approx(before[key], rel=1e-5, abs=1e-5), (before["step"], key)
    adapts = name != "source_only"
    assert ("loss_alignment" in one[-1]) == adapts
    if name.startswith("mmir") and name != "mmir_plus":
        assert "loss_agents" in one[-1]
        assert (runs / name / "removed.jsonl").read_text() == (runs / f"{name}_two" / "removed.jsonl").read_text()
        replays = [
            torch.load(runs / folder / "last.pth", weights_only=True)["training"]["adaptation"]
            for folder in (name, f"{name}_two")
        ]
        for key, value in replays[0].items():
            torch.testing.assert_close(replays[1][key], value, atol=1e-4, rtol=1e-4)
