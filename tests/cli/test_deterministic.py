"""What is equal to the bit: with train.deterministic or without on a CPU, and a resumed run on several processes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from epicsub.errors import TrainingError
from epicsub.recipe import load_recipe
from epicsub.training.device import deterministic_kernels

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

RECIPE = "recipes/tiny/features_mmir.yaml"
STEPS = [
    "train.stages.0.steps=2", "train.stages.1.steps=6", "train.log_every=1", "train.checkpoint_every=5",
    "adaptation.replay_size=30", "adaptation.replay_batch=6",
]  # fmt: skip
KILLED = """\
import shutil, sys
from epicsub.training import state

save = state.save_checkpoint

def save_and_copy(path, checkpoint):
    save(path, checkpoint)
    if checkpoint.step == 5:
        shutil.copytree(path.parent, path.parent.parent / "killed", dirs_exist_ok=True)

state.save_checkpoint = save_and_copy
from epicsub.cli import run
run()
"""


def test_a_cpu_gives_the_same_with_it_and_without(command, runs_root: Path) -> None:
    ends = []
    for word in ("false", "true"):
        words = [*STEPS, f"train.deterministic={word}", "--data", runs_root, "--out", runs_root / word]
        done = command("train", RECIPE, *words)
        assert done.status == 0, done.err
        assert not torch.are_deterministic_algorithms_enabled()
        ends.append(torch.load(runs_root / word / "last.pth", weights_only=True)["model"])
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_kernel_without_a_deterministic_form_is_named(repository: Path) -> None:
    recipe = load_recipe(repository / RECIPE, ["train.deterministic=true"]).recipe
    message = "max_pool3d_with_indices_backward_cuda does not have a deterministic implementation, but you set it."

    def step() -> None:
        with deterministic_kernels(recipe):
            assert torch.are_deterministic_algorithms_enabled()
            raise RuntimeError(message)

    with pytest.raises(TrainingError, match="max_pool3d_with_indices_backward_cuda"):
        step()
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_resumed_run_on_two_processes_ends_where_the_uninterrupted_one_does(
    runs_root: Path, fresh_process: Callable
) -> None:
    """The first run leaves a copy of its folder at step 5, as a kill would; the second goes on from there."""
    script = runs_root / "killed.py"
    script.write_text(KILLED)

    def train(out: str, *first: str) -> None:
        words = ["train", RECIPE, *STEPS, "train.devices=2", "--data", str(runs_root), "--out", str(runs_root / out)]
        done = fresh_process(*first, *words)
        assert done.returncode == 0, done.stderr

    train("whole", str(script))
    train("killed", "-m", "epicsub")
    whole, resumed = (torch.load(runs_root / name / "last.pth", weights_only=True) for name in ("whole", "killed"))
    parts = [(whole["model"], resumed["model"]), (whole["training"]["adaptation"], resumed["training"]["adaptation"])]
    for before, after in parts:
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert torch.equal(after[name], value), name
    assert whole["training"]["adaptation"]["agents.rgb_source.replay.pushed"] > 0
