"""Every tiny recipe of an adaptation method trains, is scored, and leaves what its method promises."""

import json
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

STEPS = [
    "train.stages.0.steps=2", "train.stages.1.steps=3", "train.stages.0.source_batch=5",
    "train.stages.1.source_batch=5", "train.log_every=1", "train.checkpoint_every=5", "model.width=0.0625",
    "data.workers=0",
]  # fmt: skip
TARGET = {
    "mmd": {1: 4}, "mcd": {1: 4}, "contrastive": {1: 4}, "mm_sada": {0: 4, 1: 4}, "adversarial": {1: 4},
    "mmir_plus": {1: 5}, "mmir_task": {1: 5}, "random_removal": {1: 5}, "min_delta": {1: 5}, "oracle": {1: 5},
    "rna": {1: 4}, "self_training": {1: 4}, "bn_only": {1: 4}, "adabn": {}, "source_only": {}, "supervised": {},
}  # fmt: skip
"""Target batch of each stage that adapts."""
LOGGED = {
    "mmd": {"loss_alignment", "rgb/mmd", "flow/mmd"},
    "mcd": {"loss_alignment", "discrepancy", "reversal"},
    "contrastive": {"loss_alignment", "loss_modal", "loss_domain", "anchors"},
    "mm_sada": {"loss_alignment", "loss_correspondence", "correspondence_accuracy", "rgb/discriminator_accuracy"},
    "adversarial": {"loss_alignment", "rgb/discriminator_accuracy"},
    "mmir_plus": {"loss_alignment", "rgb/discriminator_accuracy"},
    "mmir_task": {"loss_alignment", "rgb/discriminator_accuracy", "rgb_target/reward", "flow_source/reward"},
    "random_removal": {"loss_alignment", "rgb/discriminator_accuracy"},
    "min_delta": {"loss_alignment", "rgb/discriminator_accuracy"},
    "oracle": {"loss_alignment", "rgb/discriminator_accuracy"},
    "rna": {"loss_alignment", "source/rgb_over_flow_norm", "target/rgb_over_flow_norm"},
    "self_training": {"loss_alignment", "pseudo_weight", "verb_kept", "noun_kept", "verb_sure/0"},
}


def train(command, kitchens: Path, method: str, out: str, *more: str) -> list[dict]:
    if method == "oracle":
        more = (*more, f"adaptation.outliers={kitchens / 'answers' / 'outliers.csv'}")
    batches = [f"train.stages.{stage}.target_batch={batch}" for stage, batch in TARGET[method].items()]
    words = {word.partition("=")[0]: word for word in (*STEPS, *batches, *more)}.values()  # the last of a key counts
    done = command("train", f"recipes/tiny/{method}.yaml", *words, "--data", kitchens, "--out", out)
    assert done.status == 0, done.err
    return [json.loads(line) for line in (command.folder / out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", TARGET)
def test_a_method_trains_and_says_what_it_does(command, kitchens, method: str) -> None:
    lines = train(command, kitchens, method, f"outputs/method_{method}")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5]
    for line in lines:
        adapts = line["stage"] - 1 in TARGET[method]
        assert LOGGED.get(method, set()) <= line.keys() if line["stage"] == 2 else True
        assert ("loss_alignment" in line) == adapts
    last = torch.load(command.folder / f"outputs/method_{method}" / "last.pth", weights_only=True)
    assert last["step"] == 5


def test_both_classifiers_of_mcd_are_kept_and_predict(command, kitchens) -> None:
    train(command, kitchens, "mcd", "outputs/mcd_three", "adaptation.updates=three", "adaptation.feature_updates=2")
    path = command.folder / "outputs/mcd_three"
    assert {"loss_update_1", "loss_update_2", "loss_update_3"} <= json.loads(
        (path / "metrics.jsonl").read_text().splitlines()[-1]
    ).keys()
    saved = torch.load(path / "last.pth", weights_only=True)
    changed = [name for name in saved["model"] if name.startswith("second.")]
    assert len(changed) == 8
    words = ("--protocol", "small.yaml", "--data", kitchens, "--device", "cpu")
    scored = command("validate", path, *words, "--json", path / "scores.json")
    assert scored.status == 0, scored.err
    assert "24 of 24" in scored.out


@pytest.mark.parametrize("variant", ["strict", "training_time", "bn_only"])
def test_adabn_changes_the_statistics_of_source_only_and_not_a_weight(command, kitchens, variant: str) -> None:
    """Strict sees the target after training, the other variant and the control in it, without a loss."""
    sees = {
        "strict": ("adabn",),
        "training_time": ("adabn", "adaptation.variant=training_time", "train.stages.1.target_batch=4"),
        "bn_only": ("bn_only",),
    }[variant]
    train(command, kitchens, "source_only", f"outputs/control_of_{variant}")
    train(command, kitchens, sees[0], f"outputs/adabn_{variant}", *sees[1:])
    control, adapted = (
        torch.load(command.folder / "outputs" / f"{name}_{variant}" / "last.pth", weights_only=True)["model"]
        for name in ("control_of", "adabn")
    )
    for name, value in control.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, adapted[name]) != name.endswith(("running_mean", "running_var")), name


def test_an_oracle_without_its_list_is_refused_before_anything_starts(command, kitchens) -> None:
    words = ("train", "recipes/tiny/oracle.yaml", "adaptation.outliers=nowhere.csv", "--data", kitchens, "--out", "o")
    done = command(*words)
    assert done.status == 2
    assert "adaptation.outliers" in done.err
    assert "nowhere.csv" in done.err


def test_adabn_is_evaluated_on_the_way_as_it_would_end_and_trains_on_as_it_was(command, kitchens) -> None:
    words = ("train.evaluate_every=1", "evaluation.protocol=small.yaml", "train.stages.0.steps=1")
    lines = train(command, kitchens, "adabn", "outputs/adabn_seen", *words, "train.stages.1.steps=2")
    shorter = train(command, kitchens, "adabn", "outputs/adabn_short", *words, "train.stages.1.steps=1")
    scores = [[line for line in run if line["kind"] == "validation"] for run in (lines, shorter)]
    assert [line["step"] for line in scores[0]] == [1, 2, 3]
    assert scores[0][:2] == scores[1]  # step 2, on the way in one run and the end of the other
    plain = train(command, kitchens, "adabn", "outputs/adabn_plain", words[2], "train.stages.1.steps=2")
    assert [line for line in lines if line["kind"] == "train"] == plain
    one, other = (
        torch.load(command.folder / "outputs" / name / "last.pth", weights_only=True)["model"]
        for name in ("adabn_seen", "adabn_plain")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
