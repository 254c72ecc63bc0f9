"""Training methods that do not fit each other are refused by name; sections that are left out have their defaults."""
# ruff: noqa: E501  # messages stand whole, as they are printed

from pathlib import Path

import pytest

from epicsub.recipe import load_recipe
from tests.recipe.conftest import SMALL, Refusal

CONTROL = ["adaptation={method: source_only}", "data.target=[]", "train.stages.1.target_batch=0"]
SCORE = ["train.select=all_action_accuracy_at_1", "train.evaluate_every=10"]

# each row: overrides, the problem
REFUSED = [
    (
        ["train.losses.verb.gamma=1"],
        "train.losses.verb.gamma: is 1.0, but only name focal has it: leave it out",
    ),
    (
        ["train.losses.noun.beta=0.9", "train.losses.noun.class_weights=square_root"],
        "train.losses.noun.beta: is 0.9, but only class_weights effective_number has it: leave it out",
    ),
    (
        ["train.losses.noun={name: logit_adjusted, class_weights: square_root}"],
        "train.losses.noun.class_weights: is square_root, but logit_adjusted corrects for rare classes already: write none",
    ),
    (
        ["train.losses.verb={name: focal, label_smoothing: 0.1}"],
        "train.losses.verb.label_smoothing: is 0.1, but focal has no smoothed form: write 0",
    ),
    (
        ["train.losses.verb.name=focl"],
        "train.losses.verb.name: is 'focl', must be one of cross_entropy, focal, logit_adjusted, equalised; did you mean focal?",
    ),
    (
        ["train.losses.verb.gama=1"],
        "train.losses.verb.gama: unknown key, did you mean train.losses.verb.gamma?",
    ),
    (
        ["train.sampling.balance=class"],
        "train.sampling.by: missing, balance class needs what to balance: verb, noun or action",
    ),
    (
        ["train.sampling.by=verb"],
        "train.sampling.by: is 'verb', but train.sampling.balance is none: leave it out",
    ),
    (
        ["train.sampling={balance: class, by: action}", "train.losses.noun.class_weights=square_root"],
        "train.sampling.balance: is class by action, but train.losses.noun corrects for rare classes by square_root: choose one",
    ),
    (
        ["train.sampling.repeats=3", *CONTROL, "train.stages.0.source_batch=16", "train.stages.1.source_batch=21"],
        "train.stages.0.source_batch: is 16, must be a multiple of train.sampling.repeats (3)",
    ),
    (
        ["train.mixing={mixup: 0}", *CONTROL],
        "train.mixing: mixes nothing: give mixup or cutmix an alpha, e.g. 0.8, or leave the section out",
    ),
    (
        ["train.mixing={mixup: 0.8}"],
        "train.mixing: is set, but adaptation.method mmir would tell the domains by it: the target is not mixed",
    ),
    (
        ["train.mixing={mixup: 0.8}", *CONTROL, "train.stages.1.source_batch=1"],
        "train.stages.1.source_batch: is 1, but train.mixing mixes a clip with another of its device",
    ),
    (
        ["train.average={name: ema, every: 2}"],
        "train.average.every: is 2, but only average swa has it: leave it out",
    ),
    (["train.average={name: swa}"], "train.average.start: missing, swa needs the step after which weights count"),
    (
        ["train.average={name: swa, start: 150}"],
        "train.average.start: is 150, must be below the run's steps (150)",
    ),
    (
        ["train.parts=[{name: streams}, {name: streams}]"],
        "train.parts.1.name: is 'streams', which is listed twice, list it once",
    ),
    (
        ["train.parts=[{name: streams, frozen_steps: 5}]", "train.devices=2"],
        "train.parts.0.frozen_steps: is 5, but 2 devices share gradients as the run begins: write 0, or null for all steps",
    ),
    (
        ["train.parts=[{name: streams, rate: 0.1, frozen_steps: null}]"],
        "train.parts.0.rate: is 0.1, but frozen_steps null keeps the part still for the whole run: leave it out",
    ),
    (
        ["train.class_weight=0.2", *CONTROL],
        "train.class_weight: is 0.2, but no stage has a target_batch: the classification loss stands alone, leave it out",
    ),
    (
        ["train.mixing={mixup: 0.8}", "train.sampling.repeats=4", *CONTROL, "train.stages.0.source_batch=4"],
        "train.stages.0.source_batch: is 4, but train.sampling.repeats 4 makes a device's clips one segment, mixed with itself: write a larger batch",
    ),
    (
        [
            "train.accumulate=2",
            "train.precision=16-mixed",
            "train.stages.1.source_batch=20",
            "train.stages.1.target_batch=20",
        ],
        "train.accumulate: is 2, but with adaptation.method mmir 16-mixed would scale a step's gradient twice: write bf16-mixed",
    ),
    (
        ["train.accumulate=3", *CONTROL, "train.stages.0.source_batch=16", "train.stages.1.source_batch=21"],
        "train.stages.0.source_batch: is 16, must be a multiple of train.accumulate x train.devices (3)",
    ),
    (["train.patience=3"], "train.patience: is 3, but train.select last compares no scores: name a score"),
    (
        ["train.patience=3", *SCORE],
        "train.patience: is 3, but adaptation.method mmir ends with its last step: leave it out",
    ),
    (
        ["train.compile=true", "train.activation_checkpointing=true"],
        "train.activation_checkpointing: is true, but train.compile chooses itself what to compute again: write false for one of them",
    ),
]


@pytest.mark.parametrize(("overrides", "text"), REFUSED, ids=[row[1].split(":")[0] for row in REFUSED])
def test_methods_that_do_not_fit(refusal: Refusal, overrides: list[str], text: str):
    assert refusal(SMALL, *overrides) == [f"command line  {text}", "(1 problem, nothing was started)"]


def test_methods_are_off_by_default_and_combine(tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    train = load_recipe(path).recipe.train
    off = (train.mixing, train.average, train.distillation, train.losses.action, train.patience, train.rate_batch)
    assert off == (None,) * 6
    assert (train.parts, train.layer_decay, train.accumulate, train.margin) == ((), 1.0, 1, 0.0)
    assert not train.activation_checkpointing
    assert not train.compile
    assert {train.losses.verb.name, train.losses.noun.name} == {"cross_entropy"}
    assert (train.sampling.balance, train.sampling.repeats) == ("none", 1)
    together = [
        "train.losses={verb: {name: focal, class_weights: effective_number, beta: 0.99}, action: {fold: 0.3}}",
        "train.sampling={balance: square_root, by: noun, repeats: 2}",
        "train.mixing={mixup: 0.2, cutmix: 1.0}",
        "train.average={name: ema}",
        "train.distillation={teacher: x.pth, temperature: 2}",
        "train.parts=[{name: streams.rgb, rate: 0.1, frozen_steps: 10}]",
        "train.accumulate=2",
        "train.patience=2",
        "train.margin=1",
        *SCORE,
        *CONTROL,
    ]
    assert load_recipe(path, together).recipe.train.losses.action is not None
