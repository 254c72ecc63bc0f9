"""A checkpoint that an earlier version wrote still validates, predicts and resumes as it did there."""

import json
import shutil
from pathlib import Path

import numpy as np

from epicsub.predictions import read_predictions
from tests.cli.conftest import Call

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
NAME = "adversarial_0.1.0"


def test_scores_of_a_checkpoint_of_0_1_0_are_the_same(command: Call, kitchens: Path, work: Path) -> None:
    shutil.copy(CHECKPOINTS / f"{NAME}.pth", work / "earlier.pth")  # predictions are cached beside it
    done = command("validate", "earlier.pth", "--protocol", "small.yaml", "--json", "earlier.json", "--data", kitchens)
    assert done.status == 0, done.err
    (scored,) = json.loads((work / "earlier.json").read_text()).values()
    expected = json.loads((CHECKPOINTS / f"{NAME}.json").read_text())
    assert {key: scored[key] for key in expected} == expected


def test_predictions_of_a_checkpoint_of_0_1_0_are_the_same(command: Call, kitchens: Path, work: Path) -> None:
    shutil.copy(CHECKPOINTS / f"{NAME}.pth", work / "earlier.pth")
    words = ("--split", "validation", "--protocol", "small.yaml", "-o", "earlier.npz", "--data", kitchens)
    done = command("predict", "earlier.pth", *words)
    assert done.status == 0, done.err
    predicted, expected = read_predictions(work / "earlier.npz"), read_predictions(CHECKPOINTS / f"{NAME}.npz")
    assert list(predicted.narration_ids) == list(expected.narration_ids)
    # the kernels of another processor round otherwise
    np.testing.assert_allclose(predicted.verb_logprobs, expected.verb_logprobs, atol=1e-4)
    np.testing.assert_allclose(predicted.noun_logprobs, expected.noun_logprobs, atol=1e-4)


def test_a_run_of_0_1_0_resumes(command: Call, kitchens: Path, work: Path) -> None:
    folder = work / "outputs" / "earlier"
    folder.mkdir(parents=True)
    shutil.copy(CHECKPOINTS / f"{NAME}.pth", folder / "last.pth")
    settings = (
        "train.stages.0.steps=60", "train.stages.1.steps=20", "train.stages.0.source_batch=16",
        "train.stages.1.source_batch=5", "train.stages.1.target_batch=10", "train.log_every=10",
        "train.checkpoint_every=20", "model.width=0.03125", "train.optimizer.name=sgd",
        "train.stages.0.learning_rate=0.02", "data.workers=0", "evaluation.protocol=small.yaml",
        "train.evaluate_every=40",
    )  # fmt: skip
    done = command("train", "recipes/tiny/adversarial.yaml", *settings, "--data", kitchens, "--out", folder)
    assert done.status == 0, done.err
    assert "resuming from step 80 of 80" in done.err, done.err
