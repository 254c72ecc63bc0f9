"""The three diffs of CONTRIBUTING.md: a model, a method and a modality, each a small change that trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

ONE_STEP = ["train.stages.0.steps=1", "data.workers=0", "train.log_every=1"]
TWO_STAGES = [*ONE_STEP, "train.stages.1.steps=1", "model.width=0.0625"]
TRAINING = {
    "toy_backbone": ["recipes/tiny/toy.yaml", *ONE_STEP],
    "toy_method": ["recipes/tiny/adversarial.yaml", *TWO_STAGES, "adaptation={method: toy, moments: 2}"],
    "toy_modality": [
        "recipes/tiny/source_only.yaml",
        *TWO_STAGES,
        "data.modalities=[thermal]",
        "model.weights={thermal: null}",
    ],
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_diff_touches_three_files_of_the_package_at_most_and_trains(
    name: str, repository: Path, kitchens: Path, tmp_path: Path
) -> None:
    diff = repository / "tests" / "diffs" / f"{name}.diff"
    touched = re.findall(r"^\+\+\+ b/(epicsub/.*)", diff.read_text(), re.MULTILINE)
    assert 1 <= len(touched) <= 3, touched
    tree = tmp_path / "tree"
    for folder in ("epicsub", "recipes", "validation"):
        shutil.copytree(repository / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    applied = subprocess.run(["git", "apply", "-C1", diff], cwd=tree, capture_output=True, text=True, check=False)
    assert applied.returncode == 0, applied.stderr
    root = tmp_path / "kitchens"
    shutil.copytree(kitchens, root)
    shutil.copytree(root / "videos", root / "thermal")  # its luma is read
    words = ["train", *TRAINING[name], "--data", str(root), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "epicsub", *words],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "last.pth").is_file()
