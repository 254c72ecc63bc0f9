"""An agent whose loss is not finite misses its update: the run goes on, counts it, and tells it."""

import json
from pathlib import Path

import pytest
import torch

from epicsub.adaptation.dqn import Agent

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

SETTINGS = [
    "train.stages.0.steps=1", "train.stages.1.steps=8", "train.log_every=2", "train.checkpoint_every=5",
    "adaptation.replay_size=20", "adaptation.replay_batch=8", "adaptation.agents=[rgb_source, rgb_target]",
]  # fmt: skip


@pytest.fixture
def root(features_root: Path, tmp_path: Path) -> Path:
    """A folder for runs, which is a data root too."""
    folder = tmp_path
    for name in ("annotations", "features"):
        (folder / name).symlink_to(features_root / name)
    return folder


def test_missed_updates_are_counted_in_the_log_and_told_once(command, root: Path, monkeypatch) -> None:
    """The second agent's third and fourth losses, in steps 5 and 6 of the run, are not finite."""
    calls, loss = [], Agent.loss

    def spoilt(agent: Agent, *arguments) -> torch.Tensor | None:
        found = loss(agent, *arguments)
        calls.append(found)
        return found * torch.nan if found is not None and len(calls) in (8, 10) else found

    monkeypatch.setattr(Agent, "loss", spoilt)
    words = ["train", "recipes/tiny/features_mmir.yaml", *SETTINGS, "--data", root, "--out", root / "run"]
    done = command(*words)
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (root / "run/metrics.jsonl").read_text().splitlines()]
    counts = {line["step"]: line.get("rgb_target/skipped_updates") for line in lines}
    assert counts == {2: None, 4: 0.0, 6: 2.0, 8: 2.0, 9: 2.0}
    assert all(line.get("rgb_source/skipped_updates", 0.0) == 0.0 for line in lines)
    assert all(torch.isfinite(torch.tensor(line["loss_agents"])) for line in lines if "loss_agents" in line)
    assert done.err.count("agent rgb_target missed") == 1
    assert "step 6: agent rgb_target missed 2 updates, 2 in all: its loss or gradient was not finite" in done.err
    saved = torch.load(root / "run/last.pth", weights_only=True)["training"]
    assert int(saved["agent_optimizer"]["skipped"]["rgb_target"]) == 2
    assert all(value.isfinite().all() for value in saved["adaptation"].values())
