"""A run killed in the middle of stage 2 and resumed ends where the uninterrupted one does, to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from epicsub.training import state
from epicsub.training.checkpoint import Checkpoint

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

STEPS = 12


def start(work: Path, kitchens: Path, out: Path, settings: list[str]) -> subprocess.Popen:
    words = ["train", "recipes/tiny/mmir_i3d.yaml", *settings, "--data", str(kitchens), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "epicsub", *words], cwd=work, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def lines(run: Path) -> list[dict]:
    path = run / "metrics.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_killed_and_resumed_equals_uninterrupted(command, kitchens, run, work, short) -> None:
    killed = work / "outputs" / "killed"
    process = start(work, kitchens, killed, short)
    while (reached := max((line["step"] for line in lines(killed)), default=0)) < 8:
        assert process.poll() is None, f"ended at step {reached} before it could be killed"
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 4 < max(line["step"] for line in lines(killed)) < STEPS, "the kill must fall inside stage 2"

    done = command("train", "recipes/tiny/mmir_i3d.yaml", *short, "--data", kitchens, "--out", killed)
    assert done.status == 0, done.err
    assert "resuming from step" in done.err
    assert lines(killed) == lines(run)
    assert (killed / "removed.jsonl").read_text() == (run / "removed.jsonl").read_text()
    ends = [torch.load(folder / "last.pth", weights_only=True) for folder in (killed, run)]
    assert ends[0]["step"] == ends[1]["step"] == STEPS
    assert_equal(ends[0]["model"], ends[1]["model"])
    assert_equal(ends[0]["training"], ends[1]["training"])


def test_a_run_killed_between_its_two_checkpoints_still_writes_its_best(command, kitchens, work, short) -> None:
    """At the last step, after which a resumed run has nothing left to do."""
    chosen = ["train.evaluate_every=12", "train.select=all_action_accuracy_at_1", "evaluation.protocol=small.yaml"]
    words = ["train", "recipes/tiny/mmir_i3d.yaml", *short, *chosen, "--data", kitchens, "--out", "cut"]
    write, written = state.save_checkpoint, []

    def cut(path: Path, checkpoint: Checkpoint) -> None:
        if checkpoint.finished and written:
            raise KeyboardInterrupt
        write(path, checkpoint)
        written.extend([path] * checkpoint.finished)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "save_checkpoint", cut)
        assert command(*words).status == 130
    assert len(written) == 1
    assert command(*words).status == 0
    last, best = (torch.load(work / "cut" / name, weights_only=True) for name in ("last.pth", "best.pth"))
    assert last["step"] == best["step"] == STEPS


def assert_equal(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list):
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other
