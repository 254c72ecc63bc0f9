"""Small kitchens, a trained run and the command line, as a user has them."""

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from epicsub.cli import run as run_epicsub
from epicsub.data.annotations import read_segments
from epicsub.data.features.store import FeatureStore
from epicsub.synth import SynthSettings
from epicsub.synth.boxes import box_path, write_official_boxes
from epicsub.synth.plan import plan_videos

SIZES = {"train": 48, "heldout": 12, "validation": 24, "test": 20}
SHORT = [  # a recipe of seconds
    "train.stages.0.steps=4", "train.stages.1.steps=8", "train.stages.0.source_batch=5",
    "train.stages.1.source_batch=5", "train.stages.1.target_batch=10", "train.log_every=1",
    "train.checkpoint_every=3", "model.width=0.0625", "data.workers=0",
]  # fmt: skip
PROTOCOL = """\
name: small
training_list: EPIC_100_train.csv
validation: {list: EPIC_100_validation.csv, count: 24}
test: {list: EPIC_100_test_timestamps.csv, count: 20}
tail_verbs: EPIC_100_tail_verbs.csv
tail_nouns: EPIC_100_tail_nouns.csv
unseen_validation: EPIC_100_unseen_participant_ids_validation.csv
selection: training labels only
"""


@dataclass(frozen=True)
class Finished:
    """What a command left: exit status, what it printed."""

    status: int
    out: str
    err: str


Call = Callable[..., Finished]


@pytest.fixture(scope="session")
def command(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Run `epicsub` by its entry point in one working folder, where outputs/ and submissions/ appear.

    In this process, because a new one takes seconds to import torch; what is no `SystemExit` fails the test.
    """
    folder = tmp_path_factory.mktemp("work")
    for name in ("recipes", "validation"):
        (folder / name).symlink_to(repository / name)
    (folder / "small.yaml").write_text(PROTOCOL)

    def call(*words: object) -> Finished:
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(folder)
            patch.setenv("COLUMNS", "200")
            patch.setattr(sys, "argv", ["epicsub", *map(str, words)])
            try:
                run_epicsub()
                status = 0
            except SystemExit as leaving:
                status = int(leaving.code or 0)
        return Finished(status, out.getvalue(), err.getvalue())

    call.folder = folder  # type: ignore[attr-defined]
    return call


@pytest.fixture(scope="session")
def work(command: Call) -> Path:
    """The folder in which `command` runs."""
    return command.folder  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def kitchens(command: Call, work: Path) -> Path:
    """A data root with videos, tables and flow."""
    folder = work / "kitchens"
    sizes = [word for name, size in SIZES.items() for word in (f"--{name}", size)]
    made = command("data", "synth", folder, *sizes)
    assert made.status == 0, made.err
    flowed = command("data", "flow", "--data", folder)
    assert flowed.status == 0, flowed.err
    return folder


@pytest.fixture(scope="session")
def boxed(command: Call, kitchens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small kitchens with boxes beside their videos, converted."""
    folder = tmp_path_factory.mktemp("boxed")
    for name in ("annotations", "videos", "flow"):
        (folder / name).symlink_to(kitchens / name)
    settings = SynthSettings(**SIZES, boxes=True)
    for plan in plan_videos(settings):
        write_official_boxes(plan, settings, box_path(folder, plan))
    done = command("data", "boxes", "--data", folder, "--workers", "1")
    assert done.status == 0, done.err
    return folder


@pytest.fixture(scope="session")
def features_root(kitchens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with made-up features of the kitchens' three lists, for runs of a second."""
    folder = tmp_path_factory.mktemp("features")
    shutil.copytree(kitchens / "annotations", folder / "annotations")
    lists = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv")
    ids = [s.narration_id for name in lists for s in read_segments(folder / "annotations" / name)]
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(len(ids), 256, generator=generator) for name in ("rgb", "flow")}
    FeatureStore(folder / "features/source_only", {"model": "made up"}).add(ids, features)
    return folder


@pytest.fixture(scope="session")
def short() -> list[str]:
    """Overrides that cut the tiny MMIR recipe to 4 + 8 steps."""
    return SHORT


@pytest.fixture(scope="session")
def run(command: Call, kitchens: Path, work: Path) -> Path:
    """A finished run of the tiny MMIR recipe, cut to a few steps."""
    done = command("train", "recipes/tiny/mmir_i3d.yaml", *SHORT, "--data", kitchens, "--out", "outputs/short")
    assert done.status == 0, done.err
    return work / "outputs" / "short"


@pytest.fixture(scope="module")
def runs_root(features_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for runs, which is a data root too."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("annotations", "features"):
        (folder / name).symlink_to(features_root / name)
    return folder


@pytest.fixture
def fresh_process(repository: Path, work: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python anew with these words, in the folder of `command`; for what one process per test must have."""

    def run_python(*words: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
        whole = [sys.executable, *words]
        return subprocess.run(
            whole, cwd=work, env=environment, capture_output=True, text=True, timeout=600, check=False
        )

    return run_python
