"""Problems of a recipe are reported all at once, each with its line."""
# ruff: noqa: E501  # messages stand whole, as they are printed

import pytest

from tests.recipe.conftest import ONE, Refusal, Small, line_of

# each row: what is changed in the small recipe, the line that is named, the problem
MODELS = (
    "i3d, frame_mean, frame_lstm, frame_transformer, frame_multiscale, slowfast, x3d, i3d_r50, r2plus1d, mvit_v2, "
    "video_swin, timesformer, videomae, feature_heads, temporal_relations, context"
)
METHODS = (
    "source_only, supervised, mmd, adabn, bn_only, mcd, adversarial, mm_sada, contrastive, ta3n, mmir, random_removal, "
    "min_delta, oracle, mmir_plus, rna, self_training"
)
VALUES = [
    ("seed: 1", "seed: -1", "seed: is -1, must be at least 0"),
    ("seed: 1", "seed: 1.5", "seed: is 1.5, must be a whole number"),
    ("seed: 1", "seed: '1'", "seed: is '1', must be a whole number"),
    ("seed: 1", "seed: on", "seed: is 'on', must be a whole number"),
    ("seed: 1", "seed: true", "seed: is true, must be a whole number"),
    (
        "name: small",
        "name: a/b",
        "name: is 'a/b', must be letters, digits, '.', '_' and '-', since it names the run's folder",
    ),
    ("description: A right recipe", "description: ''", "description: is '', must not be empty"),
    ("description: A right recipe", "description: 3", "description: is 3, must be text"),
    (
        "frames: 16",
        "frames: 8",
        "data.frames: is 8, must be at least 9: i3d halves time three times and pools what is left",
    ),
    (
        "sampling: dense",
        "sampling: dens",
        "data.sampling: is 'dens', must be one of dense, uniform; did you mean dense?",
    ),
    ("stride: 0.0333", "stride: 0", "data.stride: is 0, must be greater than 0"),
    ("stride: 0.0333", "stride: .nan", "data.stride: is .nan, must be a finite number"),
    ("stride: 0.0333", "stride: 1e400", "data.stride: is .inf, must be a finite number"),
    ("stride: 0.0333", "stride: fast", "data.stride: is 'fast', must be a number"),
    ("flip: 0.5", "flip: 1.5", "data.augment.flip: is 1.5, must be at most 1"),
    ("[1.0, .875]", "[1.0, 1.5]", "data.augment.scales.1: is 1.5, must be at most 1"),
    ("[1.0, .875]", "[]", "data.augment.scales: is [], must have 1 or more items"),
    ("[rgb, flow]", "rgb", "data.modalities: is 'rgb', must be a list"),
    (
        "[rgb, flow]",
        "[rgb, flows]",
        "data.modalities.1: is 'flows', must be one of rgb, flow, hand_crop, audio, hands, objects; did you mean flow?",
    ),
    ("[rgb, flow]", "[rgb, flow, rgb]", "data.modalities.2: is 'rgb', which is listed twice, list it once"),
    (
        "name: i3d",
        "name: i3",
        f"model.name: is 'i3', must be one of {MODELS}; did you mean i3d?",
    ),
    ("name: i3d", "name: [i3d]", f"model.name: is [i3d], must be one of {MODELS}"),
    ("method: mmir", "method: 3", f"adaptation.method: is 3, must be one of {METHODS}"),
    ("candidates: 5", "candidates: 1", "adaptation.candidates: is 1, must be at least 2"),
    ("candidates: 5", "double: yes", "adaptation.double: is 'yes', must be true or false"),
    ("    rgb: null", "    rgb: 3", "model.weights.rgb: is 3, must be text"),
    ("steps: 100", "steps: 0", "train.stages.0.steps: is 0, must be at least 1"),
    ("weight_decay: 1e-7", "weight_decay: 1e-7x", "train.optimizer.weight_decay: is '1e-7x', must be a number"),
    ("name: sgd", "name: sdg", "train.optimizer.name: is 'sdg', must be one of sgd, adam, adamw; did you mean sgd?"),
    ("name: sgd", "momentum: 1.0\n    name: sgd", "train.optimizer.momentum: is 1.0, must be less than 1"),
    (
        "batch_size: 4",
        "views: 5x2\n  batch_size: 4",
        "evaluation.views: is '5x2', must be CLIPSxCROPS with 1 or 3 crops, optionally +flip, e.g. 1x1, 5x1 or 5x3+flip",
    ),
]


@pytest.mark.parametrize(("old", "new", "text"), VALUES)
def test_wrong_value(small: Small, refusal: Refusal, old: str, new: str, text: str):
    recipe = small({old: new})
    line = line_of(recipe, "views" if "views" in new else new)
    assert refusal(recipe) == [f"small.yaml:{line}  {text}", ONE]


def test_all_field_problems_at_once_in_the_order_of_the_file_and_no_relation(small: Small, refusal: Refusal):
    recipe = small(
        {
            "frames: 16": "frames: 3",
            "size: 48": "size: 0",
            "name: i3d": "name: i3d\n  widthh: 0.5",
            "flip: 0.5": "flip: 2",
            "      source_batch: 16\n": "",
            "learning_rate: 1e-3": "learing_rate: 1e-3",
            "  log_every: 10": "  log_every: ten\n  log_every: 3",
        },
    )
    assert refusal(recipe, "train.stage.0.steps=3", "seed=x") == [
        "small.yaml:13  data.size: is 0, must be at least 1",
        "small.yaml:17  data.augment.flip: is 2, must be at most 1",
        "small.yaml:20  model.widthh: unknown key, did you mean model.width?",
        "small.yaml:30  train.stages.0.source_batch: missing, it must be given: Labelled clips per step, over all devices",
        "small.yaml:33  train.stages.1.learing_rate: unknown key, did you mean train.stages.1.learning_rate?",
        "small.yaml:40  train.log_every: written twice, first on line 39, keep one",
        "command line  train.stage: unknown key, did you mean train.stages?",
        "command line  seed: is 'x', must be a whole number",
        "(8 problems, nothing was started)",
    ]


def test_all_relations_at_once_where_every_field_is_valid(small: Small, refusal: Refusal):
    recipe = small({"frames: 16": "frames: 3", "size: 48": "size: 60", "candidates: 5": "removals: 5"})
    assert refusal(recipe, "train.select=all_verb_accuracy_at_1") == [
        "small.yaml:9  data.frames: is 3, must be at least 9: i3d halves time three times and pools what is left",
        "small.yaml:13  data.size: is 60, must be at most data.short_side (54)",
        "small.yaml:25  adaptation.removals: is 5, must be below adaptation.candidates (5)",
        "command line  train.select: is 'all_verb_accuracy_at_1', which needs train.evaluate_every: write its steps, or select last",
        "(4 problems, nothing was started)",
    ]


UNKNOWN = [
    ("seed: 1", "seed: 1\nlearning_rate: 1", "learning_rate: unknown key, did you mean train.stages.0.learning_rate?"),
    (
        "  log_every: 10",
        "  log_every: 10\n  learing_rate: 1",
        "train.learing_rate: unknown key, did you mean train.stages.0.learning_rate?",
    ),
    (
        "name: i3d",
        "name: i3d\n  hidden: 3",
        "model.hidden: unknown key for name i3d, it belongs to frame_lstm and frame_multiscale and temporal_relations",
    ),
    (
        "name: sgd",
        "name: sgd\n    dampening: 3",
        "train.optimizer.dampening: unknown key, the keys of train.optimizer are name, momentum, weight_decay",
    ),
    ("    rgb: null", "    rbg: null", "model.weights.rbg: unknown key, did you mean model.weights.rgb?"),
    ("name: i3d", "naame: i3d", "model.naame: unknown key, did you mean model.name?"),
    ("method: mmir", "mmethod: mmir", "adaptation.mmethod: unknown key, did you mean adaptation.method?"),
    ("adaptation:", "adaption:", "adaption: unknown key, did you mean adaptation?"),
    (
        "seed: 1",
        "seed: 1\n1: 3",
        "1: unknown key, the keys of a recipe are name, description, seed, supervision, data, classes, model, adaptation, train, pretext, evaluation",
    ),
]


@pytest.mark.parametrize(("old", "new", "text"), UNKNOWN)
def test_unknown_key(small: Small, refusal: Refusal, old: str, new: str, text: str):
    recipe = small({old: new})
    line = line_of(recipe, new) + new.count("\n")
    assert refusal(recipe) == [f"small.yaml:{line}  {text}", ONE]


def test_keys_beside_an_unknown_kind_are_looked_at(small: Small, refusal: Refusal):
    recipe = small({"method: mmir": "method: mimr", "candidates: 5": "candidtes: 5"})
    assert refusal(recipe) == [
        f"small.yaml:24  adaptation.method: is 'mimr', must be one of {METHODS}; did you mean mmir?",
        "small.yaml:25  adaptation.candidtes: unknown key, did you mean adaptation.candidates?",
        "(2 problems, nothing was started)",
    ]


def test_missing_parts_name_the_line_of_their_parent(small: Small, refusal: Refusal):
    recipe = small({"seed: 1\n": "", "    name: sgd\n": "", "  select: last\n": "", "  name: i3d\n": ""})
    train = line_of(recipe, "train:")
    assert refusal(recipe) == [
        "small.yaml:1  seed: missing, it must be given: Seed of weights, order, crops and agents",
        "small.yaml:17  model.name: missing, it must be given: Model",
        f"small.yaml:{train}  train.select: missing, it must be given: Which checkpoint becomes best.pth: last, or the one "
        "with the highest of this score. label_free_entropy and label_free_prior read no label of the validation list, "
        "but those of evaluation.held_out",
        f"small.yaml:{line_of(recipe, '  optimizer')}  train.optimizer.name: missing, it must be given: Optimiser; sgd in "
        "[C] and [S], though both papers write Adam",
        "(4 problems, nothing was started)",
    ]


SECTIONS = [
    (
        "evaluation:\n  batch_size: 4\n",
        "evaluation: 3\n",
        "evaluation: is 3, must be a section with the keys protocol, views, batch_size, held_out",
    ),
    (
        "    rgb: null\n    flow: null\n",
        "",
        "model.weights: is null, must be a section with the keys rgb, flow, hand_crop, audio, hands, objects",
    ),
    (
        "    - steps: 100\n      learning_rate: 1e-2\n      source_batch: 16\n",
        "    - 100\n",
        "train.stages.0: is 100, must be a section with the keys steps, epochs, learning_rate, source_batch, target_batch, schedule, "
        "warmup_steps, class_weight",
    ),
]


@pytest.mark.parametrize(("old", "new", "text"), SECTIONS)
def test_value_where_a_section_belongs(small: Small, refusal: Refusal, old: str, new: str, text: str):
    recipe = small({old: new})
    line = line_of(recipe, new or "  weights")
    assert refusal(recipe) == [f"small.yaml:{line}  {text}", ONE]
