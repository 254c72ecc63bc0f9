"""Model context through the command line: with a method of adaptation, resumed, and whatever the batch."""

import json

import pytest
import torch

from epicsub.predictions import read_predictions
from epicsub.training import loop

pytestmark = pytest.mark.xdist_group("cli")
STAGE = "train.stages=[{steps: 4, learning_rate: 1e-3, source_batch: 5, target_batch: 5}]"
WORDS = [
    STAGE, "data.target=[EPIC_100_validation.csv]", "adaptation={method: self_training, threshold: 0.0, "
    "least_threshold: 0.0}", "train.checkpoint_every=2", "train.log_every=1", "model.width=16", "model.layers=1",
]  # fmt: skip


def test_a_run_with_adaptation_resumes_to_the_bit_and_scores_whatever_the_batch(command, features_root, work) -> None:
    words = ("train", "recipes/tiny/features_context.yaml", *WORDS, "--data", features_root)
    done = command(*words, "--out", "outputs/context")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (work / "outputs/context/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert lines[-1]["verb_kept"] == 100

    kept = torch.load(work / "outputs/context/last.pth", weights_only=True)
    with pytest.MonkeyPatch.context() as patch:  # killed after its first checkpoint
        whole = loop.train_step

        def dies(fabric, recipe, stage, state, batch, step):
            if state.step == 3:
                raise KeyboardInterrupt
            return whole(fabric, recipe, stage, state, batch, step)

        patch.setattr(loop, "train_step", dies)
        assert command(*words, "--out", "outputs/context_killed").status != 0
    assert torch.load(work / "outputs/context_killed/last.pth", weights_only=True)["step"] == 2
    assert command(*words, "--out", "outputs/context_killed").status == 0
    resumed = torch.load(work / "outputs/context_killed/last.pth", weights_only=True)
    assert all(torch.equal(value, resumed["model"][name]) for name, value in kept["model"].items())
    adapted = resumed["training"]["adaptation"]
    assert all(torch.equal(value, adapted[name]) for name, value in kept["training"]["adaptation"].items())

    found = []
    for size in (24, 5):
        done = command(*words, f"evaluation.batch_size={size}", "--out", f"outputs/context_{size}")
        assert done.status == 0, done.err
        path = work / f"context_{size}.npz"
        done = command("predict", f"context_{size}", "--split", "validation", "--protocol", "small.yaml", "--data",
                       features_root, "--device", "cpu", "-o", path)  # fmt: skip
        assert done.status == 0, done.err
        found.append(read_predictions(path))
    assert abs(found[0].verb_logprobs - found[1].verb_logprobs).max() < 1e-5


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.window=4", "model.window: is 4, must be odd"),
        ("model.heads=3", "model.heads: is 3, must divide model.width (64)"),
        ("train.mixing={mixup: 0.2}", "windows of model context are not mixed"),
        ("model={name: feature_heads, dims: {rgb: 256, flow: 256}}", "train.losses.window: is 0.1, but feature_heads"),
    ],
)
def test_refusals(command, features_root, word: str, said: str) -> None:
    done = command("train", "recipes/tiny/features_context.yaml", word, "--data", features_root, "--out", "outputs/no")
    assert done.status == 2
    assert said in done.err
