"""Every recipe of recipes/ loads, and controls are controls."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from epicsub.recipe import LoadedRecipe, Recipe, list_recipes, load_recipe, recipe_from_dict
from epicsub.recipe.base import Section
from epicsub.training.epochs import count_epochs
from epicsub.validation import load_protocol

RECIPES = Path(__file__).parents[2] / "recipes"
PATHS = sorted(RECIPES.rglob("*.yaml"))
PAIRS = ("d1_d2", "d1_d3", "d2_d1", "d2_d3", "d3_d1", "d3_d2")
METHODS = ("adabn", "bn_only", "contrastive", "mcd", "mm_sada", "mmd", "rna", "self_training")
CONTROLS = [
    ("mmir_i3d.yaml", "mmir_i3d_adversarial.yaml"),
    ("mmir_i3d.yaml", "mmir_i3d_source_only.yaml"),
    ("mmir_i3d.yaml", "bn_only_i3d.yaml"),
    *(("mmir_i3d_long.yaml", f"mmir_i3d_long_{name}.yaml") for name in ("adversarial", "bn_only", "source_only")),
    ("tiny/mmir_i3d.yaml", "tiny/adversarial.yaml"),
    ("tiny/mmir_i3d.yaml", "tiny/bn_only.yaml"),
    ("tiny/mmir_i3d.yaml", "tiny/source_only.yaml"),
    *(("tiny/mmir_i3d.yaml", f"tiny/{rule}.yaml") for rule in ("random_removal", "min_delta", "oracle")),
    ("mmir_i3d_adversarial.yaml", "mmir_plus_i3d.yaml"),
    ("mmir_i3d.yaml", "mmir_task_i3d.yaml"),
    ("tiny/adversarial.yaml", "tiny/mmir_plus.yaml"),
    ("tiny/mmir_i3d.yaml", "tiny/mmir_task.yaml"),
    *((f"{method}_i3d.yaml", "mmir_i3d_source_only.yaml") for method in METHODS),
    *((f"tiny/{method}.yaml", "tiny/source_only.yaml") for method in METHODS),
    ("tiny/features_mmir.yaml", "tiny/features_adversarial.yaml"),
    ("tiny/features_mmir.yaml", "tiny/features_source_only.yaml"),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(RECIPES))


def test_all_recipes_are_there():
    full, tiny = ([name_of(path) for path in PATHS if ("tiny" in path.parts) == small] for small in (False, True))
    assert full == [
        "adabn_i3d.yaml",
        "bn_only_i3d.yaml",
        "contrastive_i3d.yaml",
        "frame_mean.yaml",
        "frame_multiscale.yaml",
        "frame_transformer.yaml",
        "i3d_r50.yaml",
        "i3d_relations.yaml",
        "laptop_x3d.yaml",
        "mcd_i3d.yaml",
        "mm_sada_i3d.yaml",
        "mmd_i3d.yaml",
        *(f"mmir_{pair}.yaml" for pair in PAIRS),
        "mmir_features.yaml",
        "mmir_i3d.yaml",
        "mmir_i3d_adversarial.yaml",
        "mmir_i3d_long.yaml",
        "mmir_i3d_long_adversarial.yaml",
        "mmir_i3d_long_bn_only.yaml",
        "mmir_i3d_long_source_only.yaml",
        "mmir_i3d_source_only.yaml",
        "mmir_plus_i3d.yaml",
        "mmir_task_i3d.yaml",
        "mmir_uda.yaml",
        "mvit_v2.yaml",
        "order_frame_mean.yaml",
        "order_i3d.yaml",
        "order_i3d_uniform.yaml",
        "r2plus1d.yaml",
        "resnet_bilstm.yaml",
        "resnet_bilstm_32.yaml",
        "rna_i3d.yaml",
        "self_training_i3d.yaml",
        "slowfast.yaml",
        "slowfast_acrn.yaml",
        "slowfast_relations.yaml",
        "supervised_i3d.yaml",
        "ta3n_uda.yaml",
        "timesformer.yaml",
        "video_swin.yaml",
        "videomae.yaml",
        "x3d.yaml",
    ]
    assert tiny == [
        "tiny/adabn.yaml",
        "tiny/adversarial.yaml",
        "tiny/bn_only.yaml",
        "tiny/contrastive.yaml",
        "tiny/features_adversarial.yaml",
        "tiny/features_context.yaml",
        "tiny/features_mmir.yaml",
        "tiny/features_source_only.yaml",
        "tiny/frame_mean.yaml",
        "tiny/frame_multiscale.yaml",
        "tiny/frame_transformer.yaml",
        "tiny/i3d_r50.yaml",
        "tiny/i3d_r50_relations.yaml",
        "tiny/i3d_relations.yaml",
        "tiny/mcd.yaml",
        "tiny/min_delta.yaml",
        "tiny/mm_sada.yaml",
        "tiny/mmd.yaml",
        "tiny/mmir_i3d.yaml",
        "tiny/mmir_plus.yaml",
        "tiny/mmir_task.yaml",
        "tiny/mvit_v2.yaml",
        "tiny/oracle.yaml",
        "tiny/order_frame_mean.yaml",
        "tiny/order_i3d.yaml",
        "tiny/order_i3d_uniform.yaml",
        "tiny/r2plus1d.yaml",
        "tiny/random_removal.yaml",
        "tiny/resnet_bilstm.yaml",
        "tiny/rna.yaml",
        "tiny/self_training.yaml",
        "tiny/slowfast.yaml",
        "tiny/slowfast_acrn.yaml",
        "tiny/slowfast_relations.yaml",
        "tiny/source_only.yaml",
        "tiny/supervised.yaml",
        "tiny/ta3n.yaml",
        "tiny/timesformer.yaml",
        "tiny/video_swin.yaml",
        "tiny/videomae.yaml",
        "tiny/x3d.yaml",
    ]


@pytest.mark.parametrize("path", PATHS, ids=name_of)
def test_shipped_recipe_says_what_it_is_and_survives_the_ways_it_is_kept(path: Path, tmp_path: Path):
    assert path.read_text().startswith("# ")
    loaded = load_recipe(path)
    again = tmp_path / path.name
    again.write_text(loaded.to_yaml())
    assert load_recipe(again).recipe == loaded.recipe
    assert recipe_from_dict(loaded.recipe.model_dump(), "a checkpoint") == loaded.recipe
    assert recipe_from_dict(loaded.recipe.model_dump(mode="json"), "a checkpoint") == loaded.recipe


def test_names_are_the_runs_folders_and_differ():
    listed = list_recipes(RECIPES)
    assert [entry.path for entry in listed][-1] == RECIPES / "tiny/x3d.yaml"
    assert len({entry.name for entry in listed}) == len(listed) == len(PATHS)


def differing(one: Any, other: Any, key: str = "") -> set[str]:
    """Dotted keys at which two dumps differ; the adaptation section counts as one."""
    if key == "adaptation" or not isinstance(one, dict | tuple) or type(one) is not type(other):
        return {key} if one != other else set()
    if isinstance(one, dict):
        return set().union(*(differing(one[k], other[k], f"{key}.{k}".lstrip(".")) for k in one))
    if len(one) != len(other):
        return {key}
    return set().union(*(differing(a, b, f"{key}.{i}") for i, (a, b) in enumerate(zip(one, other, strict=True))), set())


@pytest.mark.parametrize(("method", "control"), CONTROLS)
def test_control_differs_in_nothing_but_the_adaptation(method: str, control: str):
    one, other = (load_recipe(RECIPES / name).recipe for name in (method, control))
    expected = {"name", "description", "adaptation"}
    if other.adaptation.method == "source_only":
        # the supervision level follows from the target: without one, training sees the training list only
        expected |= {"data.target", "train.stages.1.target_batch", "supervision.data"}
        if one.adaptation.method == "adabn":  # sees the target after training
            expected -= {"train.stages.1.target_batch"}
        if one.adaptation.method == "mm_sada":  # its first stage sees the target too, and each weighs its own losses
            expected |= {"train.stages.0.target_batch", *(f"train.stages.{stage}.class_weight" for stage in (0, 1))}
            expected |= {f"train.stages.{stage}.source_batch" for stage in (0, 1)}
            for own, others in zip(one.train.stages, other.train.stages, strict=True):  # half of them classify
                assert own.source_batch == 2 * others.source_batch
        assert (one.supervision.data, other.supervision.data) == (4, 3)
    assert differing(one.model_dump(), other.model_dump()) == expected


@pytest.mark.parametrize(
    ("name", "control"),
    [
        ("i3d_relations", "mmir_i3d_source_only"),
        ("slowfast_relations", "slowfast"),
        ("tiny/i3d_relations", "tiny/source_only"),
        ("tiny/i3d_r50_relations", "tiny/i3d_r50"),
        ("tiny/slowfast_relations", "tiny/slowfast"),
        ("tiny/slowfast_acrn", "tiny/slowfast"),
    ],
)
def test_the_control_of_relations_has_no_boxes_and_differs_in_nothing_else(name: str, control: str):
    one, other = (load_recipe(RECIPES / f"{each}.yaml").recipe for each in (name, control))
    changed = {"name", "description", "supervision.labels", "data.boxes", "model.relations"}
    assert differing(one.model_dump(), other.model_dump()) == changed


@pytest.mark.parametrize("name", ["order_i3d", "tiny/order_i3d"])
def test_the_control_of_pre_training_differs_in_the_choice_alone(name: str):
    one, other = (load_recipe(RECIPES / f"{name}{end}.yaml").recipe for end in ("", "_uniform"))
    assert differing(one.model_dump(), other.model_dump()) == {"name", "description", "pretext.choice"}
    assert (one.pretext.choice, other.pretext.choice) == ("policy", "uniform")


@pytest.mark.parametrize(("method", "control"), [pair for pair in CONTROLS if "adversarial" in pair[1]])
def test_adversarial_control_aligns_as_mmir_does(method: str, control: str):
    one, other = (
        load_recipe(RECIPES / name).recipe.adaptation.model_dump(exclude={"method"}) for name in (method, control)
    )
    assert other
    assert {key: one[key] for key in other} == other


def test_flagship_holds_the_papers_numbers():
    recipe = load_recipe(RECIPES / "mmir_i3d.yaml").recipe
    stages = [(s.steps, s.learning_rate, s.source_batch, s.target_batch) for s in recipe.train.stages]
    assert stages == [(4000, 1e-2, 48, 0), (8000, 1e-3, 40, 40)]
    assert recipe.train.optimizer.weight_decay == 1e-7
    method = recipe.adaptation
    assert method.method == "mmir"
    assert (method.candidates, method.removals, method.epsilon, method.gamma) == (5, 1, 0.5, 0.9)
    assert (method.tau_source, method.tau_target, method.discriminator_hidden) == (0.5, 0.5, 128)
    assert recipe.data.stride == pytest.approx(1 / 30, abs=1e-8)


def test_the_long_recipe_is_the_flagship_for_thirty_epochs_of_the_challenge():
    flagship, recipe = (load_recipe(RECIPES / f"{name}.yaml").recipe for name in ("mmir_i3d", "mmir_i3d_long"))
    changed = {f"train.stages.{i}.{key}" for i in (0, 1) for key in ("steps", "epochs", "schedule", "warmup_steps")}
    changed |= {"train.average", "train.losses.verb.label_smoothing", "train.losses.noun.label_smoothing"}
    assert differing(flagship.model_dump(), recipe.model_dump()) == {"name", "description", *changed}
    assert sum(stage.epochs for stage in recipe.train.stages) == 30
    counted = count_epochs(recipe, 67217).train.stages
    assert [stage.length for stage in counted] == [14004, 33609]
    for stage, steps in zip(flagship.train.stages, (2.9, 4.8), strict=True):  # epochs of the paper's steps
        assert stage.length * stage.source_batch / 67217 == pytest.approx(steps, abs=0.05)


@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_of_table_1_are_the_flagship_on_other_lists(pair: str):
    """Whoever has the videos reproduces a row with this file alone."""
    flagship, recipe = (load_recipe(RECIPES / f"mmir_{name}.yaml").recipe for name in ("i3d", pair))
    assert differing(flagship.model_dump(), recipe.model_dump()) == {
        "name", "description", "supervision.data", "data.source.0", "data.target", "classes.verbs", "classes.nouns",
        "train.evaluate_every", "train.mean_of_last", "evaluation.protocol", "data.context", "data.synchronised",
    }  # fmt: skip
    assert (recipe.data.context, recipe.data.synchronised) == (0.2667, False)  # MM-SADA's windows
    source, target = pair.upper().split("_")
    assert (recipe.data.source, recipe.data.target) == (
        (f"mmsada/{source}_train.csv",),
        (f"mmsada/{target}_train.csv",),
    )
    assert (recipe.train.mean_of_last, recipe.train.mean_every, recipe.train.select) == (9, 50, "last")
    protocol = load_protocol(RECIPES.parent / recipe.evaluation.protocol)
    assert protocol.validation.list == f"mmsada/{target}_test.csv"
    assert (protocol.training_list, protocol.target_list) == (*recipe.data.source, *recipe.data.target)
    assert (recipe.classes.verbs, recipe.classes.nouns) == (protocol.verbs, "noun" in protocol.tasks)


def test_the_challenge_recipe_trains_on_its_lists_and_is_scored_on_other_kitchens():
    recipe = load_recipe(RECIPES / "mmir_uda.yaml").recipe
    protocol = load_protocol(RECIPES.parent / recipe.evaluation.protocol)
    assert (protocol.training_list, protocol.target_list) == (*recipe.data.source, *recipe.data.target)
    assert protocol.challenge == "domain_adaptation"


def test_frame_model_trains_thirty_epochs():
    steps = -(-30 * 67217 // 16)
    for name in ("resnet_bilstm.yaml", "resnet_bilstm_32.yaml"):
        assert load_recipe(RECIPES / name).recipe.train.stages[0].steps == steps == 126032


def test_where_names_the_line_the_part_around_a_default_and_the_command_line():
    path = RECIPES / "mmir_i3d.yaml"
    text = path.read_text().splitlines()
    loaded: LoadedRecipe = load_recipe(path, ["train.stages.1.steps=10"])

    def line(start: str) -> int:
        return next(number for number, content in enumerate(text, 1) if content.startswith(start))

    assert loaded.where("seed") == f"{path}:{line('seed:')}"
    assert loaded.where("train.stages.0.steps") == f"{path}:{line('    - steps: 4000')}"
    assert loaded.where("data.decoder") == f"{path}:{line('data:')}"
    assert loaded.where("train.stages.1.steps") == "command line"
    assert loaded.where("train.stages.1") == f"{path}:{line('    - steps: 8000')}"
    assert loaded.recipe.train.stages[1].steps == 10


def test_every_key_has_a_description():
    sections = Section.__subclasses__()
    assert Recipe in sections
    assert [
        f"{s.__name__}.{key}" for s in sections for key, field in s.model_fields.items() if not field.description
    ] == []


def test_list_shows_a_recipe_that_cannot_be_loaded(tmp_path: Path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: [")
    (entry,) = list_recipes(tmp_path)
    assert entry == (broken, "broken", f"cannot be run as it stands: epicsub show {broken} says why")


def test_the_package_imports_no_torch():
    code = "import sys, epicsub.recipe; print(sorted({'torch', 'numpy', 'pandas', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
