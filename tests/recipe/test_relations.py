"""Settings that do not fit each other are refused by name, and those that need a broken one are left alone."""
# ruff: noqa: E501  # messages stand whole, as they are printed

from pathlib import Path

import pytest

from epicsub.recipe import load_recipe
from tests.recipe.conftest import ONE, SMALL, Refusal, Small, line_of

LSTM = {
    "modalities: [rgb, flow]": "modalities: [rgb]",
    "  name: i3d\n  weights:\n    rgb: null\n    flow: null\n": "  name: frame_lstm\n  backbone: x\n  weights: null\n",
    "agents: [rgb_source, flow_target]": "agents: null",
}
"""Changes of the small recipe that make it one of the frame model."""

SOURCE_ONLY = {
    "  target: [validation.csv]\n": "",
    "  method: mmir\n  candidates: 5\n  agents: [rgb_source, flow_target]\n": "  method: source_only\n",
    "      target_batch: 20\n": "",
}
"""Changes of the small recipe that take the adaptation out."""


# each row: what is changed in the small recipe, the start of the line that is named, the problems
RELATIONS = [
    (
        "  stride: 0.0333\n",
        "",
        "data:\n",
        "data.stride: missing, dense sampling needs the seconds between two frames, e.g. 0.0333333",
    ),
    (
        "sampling: dense",
        "sampling: uniform",
        "  stride",
        "data.stride: is 0.0333, but uniform sampling has no stride: leave it out",
    ),
    (
        "sampling: dense\n  stride: 0.0333",
        "sampling: uniform\n  context: 0.5",
        "  context",
        "data.context: is 0.5, but uniform sampling spreads the frames over the segment, however short: leave it out",
    ),
    ("size: 48", "size: 55", "  size", "data.size: is 55, must be at most data.short_side (54)"),
    ("    scales: [1.0, .875]\n", "", "  augment", "data.augment.scales: missing, crop scale_jitter needs it"),
    (
        "flip: 0.5",
        "area: [.9, .8]\n    flip: 0.5",
        "    area",
        "data.augment.area: is [0.9, 0.8], but only crop random_resized has it: leave it out",
        "data.augment.area: is [0.9, 0.8], must be [smallest, largest]",
    ),
    (
        "[validation.csv]",
        "[train.csv]",
        "  target",
        "data.target.0: is 'train.csv', which data.source has too, keep it in one",
    ),
    (
        "[train.csv]",
        "[train.csv, train.csv]",
        "  source",
        "data.source.1: is 'train.csv', which is listed twice, list it once",
    ),
    (
        "    flow: null\n",
        "",
        "  weights",
        "model.weights.flow: missing, data.modalities has it: write a name, a file, or null for random weights",
    ),
    (
        "  target: [validation.csv]\n",
        "",
        "data:\n",
        "data.target: is empty, but adaptation.method mmir needs a list to adapt to",
    ),
    (
        "      target_batch: 20\n",
        "",
        "  stages",
        "train.stages: no stage has a target_batch above 0, so adaptation.method mmir never runs: set one",
    ),
    (
        "target_batch: 20",
        "target_batch: 22",
        "      target_batch",
        "train.stages.1.target_batch: is 22, must be a multiple of adaptation.candidates (5): the nearest are 20 and 25",
    ),
    (
        "source_batch: 20",
        "source_batch: 3",
        "      source_batch: 3",
        "train.stages.1.source_batch: is 3, must be a multiple of adaptation.candidates (5): the nearest are 5 and 10",
    ),
    (
        "flow_target]",
        "rgb_source]",
        "  agents",
        "adaptation.agents.1: is 'rgb_source', which is listed twice, list it once",
    ),
    (
        "candidates: 5",
        "removals: 5",
        "  removals",
        "adaptation.removals: is 5, must be below adaptation.candidates (5)",
    ),
    (
        "candidates: 5",
        "replay_batch: 200",
        "  replay_batch",
        "adaptation.replay_batch: is 200, must be below adaptation.replay_size (200), or the agents never learn",
    ),
    (
        "select: last",
        "select: all_action_accuracy_at_1",
        "  select",
        "train.select: is 'all_action_accuracy_at_1', which needs train.evaluate_every: write its steps, or select last",
    ),
    (
        "steps: 50",
        "warmup_steps: 50\n      steps: 50",
        "    - warmup",
        "train.stages.1.warmup_steps: is 50, must be below the stage's steps (50)",
    ),
    (
        "  log_every: 10",
        "  accelerator: cpu\n  precision: 16-mixed\n  log_every: 10",
        "  precision",
        "train.precision: is '16-mixed', must be bf16-mixed or 32-true on a cpu",
    ),
]


@pytest.mark.parametrize("changes", [{}, LSTM, SOURCE_ONLY])
def test_small_recipes_are_valid(small: Small, changes: dict[str, str], tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(small(changes))
    assert load_recipe(path).recipe.name == "small"


@pytest.mark.parametrize(("old", "new", "named", "texts"), [(*row[:3], row[3:]) for row in RELATIONS])
def test_settings_that_do_not_fit(
    small: Small, refusal: Refusal, old: str, new: str, named: str, texts: tuple[str, ...]
):
    recipe = small({old: new})
    line = line_of(recipe, named)
    count = f"({len(texts)} problem{'s' * (len(texts) > 1)}, nothing was started)"
    assert refusal(recipe) == [*(f"small.yaml:{line}  {text}" for text in texts), count]


def test_source_only_reads_no_target(small: Small, refusal: Refusal):
    recipe = small({key: value for key, value in SOURCE_ONLY.items() if "method" in key})
    target = "data.target: is [validation.csv], but adaptation.method source_only reads no target list: leave it out"
    batch = "train.stages.1.target_batch: is 20, but adaptation.method source_only sees no target clip: write 0"
    assert refusal(recipe) == [
        f"small.yaml:7  {target}",
        f"small.yaml:{line_of(recipe, 'target_batch')}  {batch}",
        "(2 problems, nothing was started)",
    ]


def test_one_modality_needs_one_stream(small: Small, refusal: Refusal):
    assert refusal(small({"[rgb, flow]": "[rgb]"}), "data.augment.color_jitter=0.2") == [
        "small.yaml:22  model.weights.flow: is null, but data.modalities has no flow: leave it out",
        "small.yaml:26  adaptation.agents.1: is 'flow_target', but data.modalities is [rgb]: name one of these",
        "(2 problems, nothing was started)",
    ]
    assert refusal(small(LSTM), "data.modalities=[flow]", "data.augment.color_jitter=0.2") == [
        "command line  data.augment.color_jitter: is 0.2, but data.modalities has no rgb or hand_crop: write 0",
        "(1 problem, nothing was started)",
    ]
    assert refusal(
        small(LSTM), "data.modalities=[flow]", "data.augment.rand_augment={magnitude: 12}", "data.augment.erase=0.2"
    ) == [
        "command line  data.augment.rand_augment: changes rgb or hand_crop alone, but data.modalities has no rgb "
        "or hand_crop: leave it out",
        ONE,
    ]


def test_a_video_network_has_the_variants_that_there_are(small: Small, refusal: Refusal):
    old = "  name: i3d\n  weights:\n"
    assert refusal(small({old: "  name: x3d\n  variant: r50\n  weights:\n"})) == [
        "small.yaml:20  model.variant: is 'r50', must be one of xs, s, m, l, tiny for model.name x3d",
        "(1 problem, nothing was started)",
    ]
    assert refusal(small({old: "  name: x3d\n  variant: m\n  drop_path: 0.1\n  weights:\n"})) == [
        "small.yaml:21  model.drop_path: is 0.1, but x3d has no stochastic depth: leave it out",
        ONE,
    ]


@pytest.mark.parametrize(
    ("name", "override", "text"),
    [
        (
            "slowfast r50",
            "data.frames=4",
            "data.frames: is 4, must be at least 8: slowfast shares them between two pathways",
        ),
        (
            "slowfast r50",
            "data.frames=18",
            "data.frames: is 18, must be a multiple of 4: slowfast shares them between two pathways",
        ),
        (
            "timesformer base",
            "data.size=50",
            "data.size: is 50, must be a multiple of 16: timesformer cuts pictures into patches of 16 pixels",
        ),
    ],
)
def test_clips_fit_the_network(small: Small, refusal: Refusal, name: str, override: str, text: str):
    model, variant = name.split()
    recipe = small({"  name: i3d\n  weights:\n": f"  name: {model}\n  variant: {variant}\n  weights:\n"})
    assert refusal(recipe, override) == [f"command line  {text}", ONE]


def test_key_of_another_method(small: Small, refusal: Refusal):
    recipe = small(
        {
            **SOURCE_ONLY,
            "  method: mmir\n  candidates: 5\n  agents: [rgb_source, flow_target]\n": "  method: source_only\n  lam_max: 1\n",
        },
    )
    text = "adaptation.lam_max: unknown key for method source_only, it belongs to "
    text += "mcd and adversarial and mm_sada and mmir and random_removal and min_delta and oracle and mmir_plus"
    assert refusal(recipe) == [f"small.yaml:{line_of(recipe, 'lam_max')}  {text}", ONE]


def test_a_flat_recipe_becomes_its_control_on_the_command_line(small: Small, tmp_path: Path):
    path, control = tmp_path / "small.yaml", tmp_path / "control.yaml"
    path.write_text(SMALL)
    control.write_text(small(SOURCE_ONLY))
    overrides = ["adaptation={method: source_only}", "data.target=[]", "train.stages.1.target_batch=0"]
    assert load_recipe(path, overrides).recipe == load_recipe(control).recipe


def test_misspelt_key_of_the_file_does_not_break_what_depends_on_it(small: Small, refusal: Refusal):
    """Without its stride, a dense recipe would be wrong: but the stride is there, misspelt, and that is one problem."""
    assert refusal(small({"stride": "strde"})) == [
        "small.yaml:11  data.strde: unknown key, did you mean data.stride?",
        ONE,
    ]
