"""Training methods through the command line: they run together, resume to the bit, and their checkpoints predict."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from epicsub.training.checkpoint import save_checkpoint

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

RGB = [
    "train", "recipes/tiny/source_only.yaml", "data.modalities=[rgb]", "model.weights={rgb: null}", "data.workers=0",
    "model.width=0.0625", "train.log_every=1", "train.checkpoint_every=3", "train.stages.0.steps=4",
    "train.stages.1.steps=3", "train.stages.0.source_batch=6", "train.stages.1.source_batch=6",
    "evaluation.protocol=small.yaml",
]  # fmt: skip
TOGETHER = {
    "averaged, mixed, balanced": [
        "train.average={name: ema, decay: 0.9}",
        "train.mixing={mixup: 0.4, cutmix: 1.0}",
        "train.sampling={balance: class, by: action, repeats: 2}",
        "train.losses.verb={name: focal}",
        "train.losses.action={fold: 0.3, dropout: 0.2}",
        "train.accumulate=2",
        "data.augment.color_jitter=0.2",
        "data.augment.rand_augment={operations: 1, magnitude: 12}",
        "data.augment.erase=0.5",
        "train.layer_decay=0.8",
        "train.parts=[{name: streams.rgb.trunk, rate: 0.5, frozen_steps: 2}]",
        "train.rate_batch=12",
    ],
    "mean of the end, taught, selected": [
        "train.average={name: swa, start: 1, every: 2, bn_batches: 2}",
        "train.losses={verb: {name: logit_adjusted, label_smoothing: 0.1}, noun: {name: equalised, tail_share: 0.05}}",
        "train.distillation={teacher: outputs/short/last.pth, temperature: 2, weight: 0.7}",
        "train.activation_checkpointing=true",
        "train.evaluate_every=3",
        "train.select=all_noun_accuracy_at_5",
        "train.margin=0.5",
        "train.patience=9",
    ],
}


def lines(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def equal(one: object, other: object) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@pytest.mark.parametrize("name", TOGETHER)
def test_methods_together_resume_to_the_bit(command, kitchens, run, work, monkeypatch, name: str) -> None:
    """The first run leaves a copy of its folder at step 3, as a kill would; the second goes on from there."""
    whole, cut = (work / "outputs" / f"{word} {len(name)}" for word in ("whole", "cut"))

    def save_and_copy(path: Path, checkpoint) -> None:
        save_checkpoint(path, checkpoint)
        if checkpoint.step == 3 and checkpoint.steps == 7:
            shutil.copytree(whole, cut, dirs_exist_ok=True)

    words = [*RGB, *TOGETHER[name], "--data", kitchens]
    with monkeypatch.context() as patch:
        patch.setattr("epicsub.training.state.save_checkpoint", save_and_copy)
        done = command(*words, "--out", whole)
    assert done.status == 0, done.err
    assert torch.load(cut / "last.pth", weights_only=True)["step"] == 3
    done = command(*words, "--out", cut)
    assert done.status == 0, done.err
    assert "resuming from step 3 of 7" in done.err
    assert lines(cut) == lines(whole)
    ends = [torch.load(folder / "last.pth", weights_only=True) for folder in (whole, cut)]
    assert equal(ends[0]["model"], ends[1]["model"])
    assert equal(ends[0]["training"], ends[1]["training"])
    averaged, last = ends[0]["model"], ends[0]["training"]["model"]
    assert not torch.equal(averaged["streams.rgb.verb_head.weight"], last["streams.rgb.verb_head.weight"])
    done = command("validate", whole, "--data", kitchens, "--protocol", "small.yaml")
    assert done.status == 0, done.err


def test_a_scaled_learning_rate_is_said_and_used(command, kitchens, work) -> None:
    done = command(
        *RGB, "train.rate_batch=12", "train.stages.0.learning_rate=0.01", "--data", kitchens, "--out", "outputs/rate"
    )
    assert "stage 1: learning rate 0.01 is meant for 12 clips per step, this one takes 6: 0.005" in done.err
    assert lines(work / "outputs" / "rate")[0]["learning_rate"] == 0.005


def test_training_ends_where_the_score_no_longer_rises(command, kitchens, work) -> None:
    words = [
        *RGB,
        "train.evaluate_every=2",
        "train.select=all_verb_accuracy_at_1",
        "train.margin=1e9",
        "train.patience=1",
    ]
    done = command(*words, "--data", kitchens, "--out", "outputs/early")
    assert done.status == 0, done.err
    logged = lines(work / "outputs" / "early")
    assert [line["step"] for line in logged if line["kind"] == "train"] == [1, 2, 3, 4]
    assert [(line["step"], line["higher"]) for line in logged if line["kind"] == "selection"] == [(2, 1.0), (4, 0.0)]
    last = torch.load(work / "outputs" / "early" / "last.pth", weights_only=True)
    assert (last["step"], last["stopped"]) == (4, True)
    again = command(*words, "--data", kitchens, "--out", "outputs/early")
    assert again.status == 0, again.err
    assert lines(work / "outputs" / "early") == logged


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (
            "--dry-run",
            ["clips per step: rgb (6, 3, 16, 48, 48)", "parameters: ", "stage 2: 3 steps", " in total on this machine"],
        ),
        ("--find-lr", ["learning rate ", "try train.stages.0.learning_rate="]),
        ("--find-batch", ["     2 labelled clips per step: ", "    32 labelled", "largest on this device: 32"]),
    ],
)
def test_trials_say_much_and_write_nothing(
    command, kitchens, work, monkeypatch, option: str, expected: list[str]
) -> None:
    monkeypatch.setattr("epicsub.training.find.RATE_STEPS", 12)
    before = sorted(work.rglob("*"))
    done = command(*RGB, option, "--data", kitchens, "--out", "outputs/trial")
    assert done.status == 0, done.err
    for text in [*expected, "nothing was written"]:
        assert text in done.out, done.out
    assert sorted(work.rglob("*")) == before


def test_a_part_that_the_model_has_not_is_refused(command, kitchens) -> None:
    done = command(*RGB, "train.parts=[{name: backbone}]", "--data", kitchens, "--out", "outputs/part")
    assert done.status == 2
    assert "train.parts: the model has no backbone; it has streams" in done.err


def test_a_teacher_that_does_not_fit_is_refused(command, kitchens, run) -> None:
    words = ["train.distillation={teacher: outputs/short/last.pth}", "--data", kitchens, "--out", "outputs/taught"]
    done = command(*RGB, "data.size=40", *words)
    assert done.status == 2
    assert "size: 48 in the teacher, 40 here" in done.err
    words[0] = "train.distillation={teacher: nowhere.pth}"
    done = command(*RGB, *words)
    assert done.status == 2
    assert "nowhere.pth" in done.err


LISTED = """\
name: taught
training_list: EPIC_100_train.csv
validation: {list: EPIC_100_train.csv, count: 48}
test: {list: EPIC_100_test_timestamps.csv, count: 20}
selection: soft labels for the training list
"""


def test_kept_predictions_of_two_streams_teach_a_student_of_one(command, kitchens, run, work) -> None:
    """A student of RGB alone learns from the two-stream run's predictions of the training list."""
    (work / "taught.yaml").write_text(LISTED)
    made = command(
        "predict", run, "--split", "validation", "--protocol", "taught.yaml", "--data", kitchens, "-o", "soft.npz"
    )
    assert made.status == 0, made.err
    ends = {}
    for name, teacher in (("none", None), ("kept", "soft.npz")):
        taught = [f"train.distillation={{teacher: {teacher}, weight: 1.0}}"] if teacher else []
        done = command(*RGB, *taught, "--data", kitchens, "--out", f"outputs/taught_{name}")
        assert done.status == 0, done.err
        ends[name] = lines(work / "outputs" / f"taught_{name}")
    assert ends["none"][0]["verb_accuracy"] == ends["kept"][0]["verb_accuracy"]  # the same clips and first weights
    assert ends["none"][0]["loss_classification"] != ends["kept"][0]["loss_classification"]
    few = command("predict", run, "--split", "test", "--protocol", "taught.yaml", "--data", kitchens, "-o", "few.npz")
    assert few.status == 0, few.err
    refused = command(*RGB, "train.distillation={teacher: few.npz}", "--data", kitchens, "--out", "outputs/taught_few")
    assert refused.status == 2
    assert "train.distillation.teacher" in refused.err


def test_a_part_stands_still_until_it_is_unfrozen(command, kitchens, work) -> None:
    trunk, head = "streams.rgb.trunk.Conv3d_1a_7x7.conv3d.weight", "streams.rgb.verb_head.weight"
    after = {}
    for steps in (2, 3, 4):
        words = [*RGB, "train.parts=[{name: streams.rgb.trunk, frozen_steps: 3}]", "--data", kitchens]
        settings = {word.partition("=")[0]: word for word in map(str, words)}
        settings |= {"train.stages.0.steps": f"train.stages.0.steps={steps - 1}"}
        settings |= {"train.stages.1.steps": "train.stages.1.steps=1"}
        done = command(*settings.values(), "--out", f"outputs/frozen_{steps}")
        assert done.status == 0, done.err
        after[steps] = torch.load(work / "outputs" / f"frozen_{steps}" / "last.pth", weights_only=True)["model"]
    assert torch.equal(after[2][trunk], after[3][trunk])
    assert not torch.equal(after[3][trunk], after[4][trunk])
    assert not torch.equal(after[2][head], after[3][head])


def test_a_compiled_run_is_the_plain_run(command, kitchens, work, monkeypatch) -> None:
    """With the tracing of torch.compile and without its code generation, which takes a compiler and a minute."""
    compile_ = torch.nn.Module.compile
    compiled: list[torch.nn.Module] = []

    def traced(model: torch.nn.Module) -> None:
        compiled.append(model)
        compile_(model, backend="eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    short = ["train.average={name: ema}", "--data", kitchens]
    for name, setting in (("plain", "false"), ("compiled", "true")):
        done = command(*RGB, f"train.compile={setting}", *short, "--out", f"outputs/{name}")
        assert done.status == 0, done.err
    assert len(compiled) == 1
    plain, other = (
        torch.load(work / "outputs" / name / "last.pth", weights_only=True) for name in ("plain", "compiled")
    )
    assert plain["model"].keys() == other["model"].keys()
    for name, value in plain["model"].items():
        torch.testing.assert_close(other["model"][name], value)
