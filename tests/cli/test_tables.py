"""The rows of MMIR's Tables 2 and 3, each by overrides of the recipe, train and remove what the row says; the mean of
the last evaluations that the tables report."""

import json
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

STEPS = [
    "train.stages.0.steps=1", "train.stages.1.steps=2", "train.stages.0.source_batch=5", "train.log_every=1",
    "train.stages.1.source_batch=5", "train.checkpoint_every=3", "model.width=0.0625", "data.workers=0",
]  # fmt: skip
ADAPTED = ["train.stages.1.target_batch=5"]
EVERY = {"rgb_source", "rgb_target", "flow_source", "flow_target"}
TABLE_2 = {
    "without RGB agents": (["adaptation.agents=[flow_source, flow_target]"], EVERY - {"rgb_source", "rgb_target"}),
    "without flow agents": (["adaptation.agents=[rgb_source, rgb_target]"], EVERY - {"flow_source", "flow_target"}),
    "without S-agent (RGB)": (
        ["adaptation.agents=[rgb_target, flow_source, flow_target]"],
        EVERY - {"rgb_source"},
    ),
    "without T-agent (RGB)": (
        ["adaptation.agents=[rgb_source, flow_source, flow_target]"],
        EVERY - {"rgb_target"},
    ),
    "without S-agents": (["adaptation.agents=[rgb_target, flow_target]"], {"rgb_target", "flow_target"}),
    "without T-agents": (["adaptation.agents=[rgb_source, flow_source]"], {"rgb_source", "flow_source"}),
    "MMIR": ([], EVERY),
}
TABLE_3 = {
    "source only": (
        ["adaptation={method: source_only}", "data.target=[]", "train.stages.1.target_batch=0"],
        set(),
    ),
    "adversarial only": (["adaptation.agents=[]"], set()),
    "adversarial only, with correspondence": (["adaptation.agents=[]", "adaptation.correspondence_weight=1.0"], set()),
    "MMIR, refined instances in the class loss": (["adaptation.class_instances=kept"], EVERY),
}


def train(command, kitchens: Path, recipe: str, out: str, *words: str) -> list[dict]:
    done = command("train", f"recipes/tiny/{recipe}.yaml", *STEPS, *words, "--data", kitchens, "--out", out)
    assert done.status == 0, done.err
    return [json.loads(line) for line in (command.folder / out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("row", [*TABLE_2, *TABLE_3])
def test_a_row_is_a_recipe_with_overrides(command, kitchens, row: str) -> None:
    words, agents = (TABLE_2 | TABLE_3)[row]
    adapted = ADAPTED if row != "source only" else []
    lines = train(command, kitchens, "mmir_i3d", f"outputs/row_{[*TABLE_2, *TABLE_3].index(row)}", *adapted, *words)
    assert len(lines) == 3
    assert any("discriminator_accuracy" in name for name in lines[-1]) == (row != "source only")
    seen = {name.split("/")[0] for name in lines[-1] if "/reward" in name}
    assert seen == agents
    assert ("correspondence_accuracy" in lines[-1]) == ("with correspondence" in row)


def test_adversarial_only_by_an_override_is_the_adversarial_recipe(command, kitchens) -> None:
    """Table 3's row and its control give the same losses and weights, to the bit."""
    runs = {}
    for recipe, words in (("mmir_i3d", ["adaptation.agents=[]"]), ("adversarial", [])):
        lines = train(command, kitchens, recipe, f"outputs/same_{recipe}", *ADAPTED, *words)
        runs[recipe] = lines, torch.load(command.folder / f"outputs/same_{recipe}" / "last.pth", weights_only=True)
    (one, first), (other, second) = runs.values()
    assert one == other
    assert all(torch.equal(value, second["model"][name]) for name, value in first["model"].items())


def test_the_mean_of_the_last_evaluations_is_logged_kept_and_told(command, kitchens) -> None:
    words = ["train.mean_of_last=3", "train.mean_every=1", "evaluation.protocol=small.yaml"]
    lines = train(command, kitchens, "source_only", "outputs/mean", *words)
    evaluations = [line for line in lines if line["kind"] == "validation"]
    (mean,) = [line for line in lines if line["kind"] == "validation_mean"]
    assert mean["steps"] == [line["step"] for line in evaluations] == [1, 2, 3]
    name = "all_action_accuracy_at_1"
    assert mean[name] == pytest.approx(sum(line[name] for line in evaluations) / 3)
    scored = command(
        "validate", "outputs/mean", "--data", kitchens, "--device", "cpu", "--json", "outputs/mean/scores.json"
    )
    assert scored.status == 0, scored.err
    assert "mean of its last 3 evaluations while training (small.yaml, steps 1 to 3): all_verb" in scored.out
    (told,) = json.loads((command.folder / "outputs/mean/scores.json").read_text()).values()
    assert told["mean_of_last"]["scores"][name] == mean[name]
    assert told["mean_of_last"]["steps"] == [1, 2, 3]


def test_the_upper_bound_says_what_it_is(command, kitchens) -> None:
    words = ("recipes/tiny/supervised.yaml", *STEPS, "--data", kitchens, "--out", "outputs/bound")
    done = command("train", *words)
    assert done.status == 0, done.err
    note = "upper bound: trained on the labels of the target (EPIC_100_validation.csv), no adaptation"
    assert note in done.err
    scored = command("validate", "outputs/bound", "--protocol", "small.yaml", "--data", kitchens, "--device", "cpu")
    assert note in scored.out
