"""Settings of the adaptation methods that do not fit each other are refused."""

from pathlib import Path

import pytest

from epicsub.recipe import load_recipe
from tests.recipe.conftest import Refusal, Small

MMIR = "  method: mmir\n  candidates: 5\n  agents: [rgb_source, flow_target]\n"
WHERE = "train.stages.1.target_batch"


def method(name: str, *settings: str) -> dict[str, str]:
    """The small recipe's change to another method."""
    return {MMIR: "".join(f"  {line}\n" for line in (f"method: {name}", *settings))}


BROKEN = [
    (
        method("supervised"),
        [
            "data.target: is [validation.csv], but adaptation.method supervised reads no target list: leave it out",
            f"{WHERE}: is 20, but adaptation.method supervised sees no target clip: write 0",
        ],
    ),
    (
        method("adabn"),
        [f"{WHERE}: is 20, but adaptation.method adabn with variant strict sees target clips after training: write 0"],
    ),
    (
        method("adabn") | {"  target: [validation.csv]\n": "", "      target_batch: 20\n": ""},
        ["data.target: is empty, but adaptation.method adabn needs a list to adapt to"],
    ),
    (
        method("adabn", "variant: training_time") | {"      target_batch: 20\n": ""},
        ["train.stages: no stage has a target_batch above 0, so adaptation.method adabn never runs: set one"],
    ),
    (
        method("adabn")
        | {"      target_batch: 20\n": "", "every: null": "every: 5", "select: last": "select: all_verb_accuracy_at_1"},
        [
            "train.select: is 'all_verb_accuracy_at_1', but the last checkpoint alone has the target's statistics of "
            "adabn's variant strict: write last",
        ],
    ),
    (
        method("adabn", "variant: training_time", "batch_size: 64"),
        ["adaptation.batch_size: is 64, but only variant strict reads the target by itself: leave it out"],
    ),
    (
        method("mm_sada"),
        [
            "adaptation.correspondence_weights: is 5.0 in a stage without target_batch, where it has no effect: give a "
            "target_batch to train.stages.0, or write 0",
        ],
    ),
    (
        method("mm_sada", "adversarial_weights: [1.0]", "correspondence_weights: [0, 1.0, 1.0]"),
        [
            "adaptation.adversarial_weights: has 1 weights for 2 stages: give one for each",
            "adaptation.correspondence_weights: has 3 weights for 2 stages: give one for each",
        ],
    ),
    (
        method("mm_sada", "correspondence_weights: [0, 1.0]") | {"source_batch: 20": "source_batch: 2"},
        ["train.stages.1.source_batch: is 2, must be at least 3 to roll half of the pairs"],
    ),
    (
        method("contrastive") | {"[rgb, flow]": "[rgb]", "    flow: null\n": ""},
        ["adaptation.method: is contrastive, which needs two data.modalities or more, not [rgb]"],
    ),
    (
        method("adversarial", "correspondence_weight: 1.0") | {"[rgb, flow]": "[rgb]", "    flow: null\n": ""},
        ["adaptation.correspondence_weight: is above 0, which needs two data.modalities or more, not [rgb]"],
    ),
    (
        method("ta3n"),
        [
            "adaptation.method: is ta3n, which aligns frames and relations: it needs model.name temporal_relations, "
            "not i3d",
        ],
    ),
    (
        {"source_batch: 16": "source_batch: 16\n      class_weight: 0.2"},
        [
            "train.stages.0.class_weight: is 0.2, but a stage without target_batch has the classification loss alone: "
            "leave it out",
        ],
    ),
    (
        {"  select": "  mean_every: 10\n  select"},
        ["train.mean_every: is 10, but train.mean_of_last is null: leave it out"],
    ),
    (
        {"  select": "  mean_of_last: 9\n  select"},
        [
            "train.mean_of_last: is 9, evaluations every 50 steps would begin 251 steps before the run's 150 do: write "
            "fewer, or a smaller train.mean_every",
        ],
    ),
]


@pytest.mark.parametrize(("changes", "texts"), BROKEN)
def test_settings_that_do_not_fit(small: Small, refusal: Refusal, changes: dict[str, str], texts: list[str]):
    *lines, _ = refusal(small(changes))
    assert [line.split("  ", 1)[1] for line in lines] == texts


RIGHT = [
    *(method(name) for name in ("mmd", "mcd", "contrastive", "adversarial")),
    method("adabn") | {"      target_batch: 20\n": ""},
    method("adabn", "variant: training_time"),
    method("mm_sada", "correspondence_weights: [0, 1.0]")
    | {"target_batch: 20": "target_batch: 20\n      class_weight: 0.2"},
    method("supervised") | {"  target: [validation.csv]\n": "", "      target_batch: 20\n": ""},
    {"  agents: [rgb_source, flow_target]": "  agents: []"},
    {"  select": "  mean_of_last: 3\n  select"},
]


@pytest.mark.parametrize("changes", RIGHT)
def test_settings_that_fit(small: Small, changes: dict[str, str], tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(small(changes))
    load_recipe(path)
