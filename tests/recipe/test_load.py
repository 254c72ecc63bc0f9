"""Recipes are found, changed by `KEY=VALUE`, and loaded or refused, whatever they hold."""
# ruff: noqa: E501  # messages stand whole, as they are printed

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from epicsub.errors import RecipeError
from epicsub.io import shipped
from epicsub.recipe import list_recipes, load_recipe, recipe_from_dict
from tests.recipe.conftest import ONE, SMALL, SMALL_PATH, Refusal

KEY_LINES = [
    (number, line.strip().removeprefix("- ").partition(":")[0])
    for number, line in enumerate(SMALL.splitlines(), 1)
    if not line.startswith("supervision")
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KEY_LINES), st.integers(0, 30), st.sampled_from(["drop", "double", "swap"]))
def test_any_misspelt_key_is_one_problem_on_its_line(tmp_path_factory, where: tuple[int, str], at: int, how: str):
    number, key = where
    at %= len(key)
    tail = {"drop": key[at + 1 :], "double": key[at] + key[at:], "swap": key[at : at + 2][::-1] + key[at + 2 :]}[how]
    wrong = key[:at] + tail
    lines = SMALL.splitlines(keepends=True)
    assume(wrong not in ("", key))
    lines[number - 1] = lines[number - 1].replace(key, wrong, 1)
    path = tmp_path_factory.mktemp("misspelt") / "small.yaml"
    path.write_text("".join(lines))
    with pytest.raises(RecipeError) as refused:
        load_recipe(path)
    problem, closing = str(refused.value).splitlines()
    place, _, text = problem.partition("  ")
    assert place == f"{path}:{number}"
    unknown, _, message = text.partition(": ")
    assert unknown.rpartition(".")[2] == wrong
    assert message == f"unknown key, did you mean {unknown.removesuffix(wrong)}{key}?"
    assert closing == ONE


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 99) | st.floats() | st.sampled_from(["", "rgb", "mmir", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "steps", "rgb"]), inner),
    max_leaves=4,
)
PLACES = [
    *("seed", "data", "data.target", "data.augment", "data.augment.area", "model", "model.name", "model.weights"),
    *("adaptation", "adaptation.agents", "train", "train.stages", "train.stages.1", "train.select", "evaluation.views"),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUE), min_size=1, max_size=3))
def test_any_values_load_or_are_refused(wrong: list[tuple[str, Any]]):
    values = yaml.load(SMALL, yaml.SafeLoader) | {"train": load_recipe(SMALL_PATH).recipe.model_dump()["train"]}
    for place, value in wrong:
        here = values
        *way, last = place.split(".")
        for part in way:
            if isinstance(here, dict):
                inside = here.get(part)
            else:  # a list, maybe in place of a section
                inside = here[int(part)] if part.isdigit() and int(part) < len(here) else None
            here = inside if isinstance(inside, dict | list) else {}
        if isinstance(here, dict):
            here[last] = value
        elif here:
            here[-1] = value
    try:
        recipe = recipe_from_dict(values, "a checkpoint")
    except RecipeError as refused:
        *problems, closing = str(refused).splitlines()
        assert problems
        assert all(line.startswith("a checkpoint  ") for line in problems)
        assert closing.startswith(f"({len(problems)} problem")
    else:
        assert recipe_from_dict(recipe.model_dump(), "again") == recipe


def test_values_that_yaml_cannot_write_are_shown_too():
    with pytest.raises(RecipeError, match=r"a checkpoint  seed: is <object object at .*, must be a whole number"):
        recipe_from_dict({**load_recipe(SMALL_PATH).recipe.model_dump(), "seed": object()}, "a checkpoint")


def test_missing_file_names_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    for name in ("mmir_i3d", "other"):
        Path(f"recipes/{name}.yaml").write_text(SMALL)
    for path, text in (
        (
            "recipes/mmir_i3d.yml",
            "recipes/mmir_i3d.yml: no such recipe. recipes holds mmir_i3d.yaml, other.yaml; did you mean recipes/mmir_i3d.yaml?",
        ),
        ("recipes", "recipes: is a folder, not a recipe. recipes holds mmir_i3d.yaml, other.yaml"),
        ("nowhere/x.yaml", "nowhere/x.yaml: no such recipe. `epicsub recipes` lists all"),
    ):
        with pytest.raises(RecipeError) as refused:
            load_recipe(Path(path))
        assert str(refused.value) == text
    Path("binary.yaml").write_bytes(b"name: \xff")
    with pytest.raises(
        RecipeError, match=r"^binary.yaml: not a text file in UTF-8 \(byte 6\), so not a recipe; save it as UTF-8$"
    ):
        load_recipe(Path("binary.yaml"))
    with pytest.raises(RecipeError, match=r"^nowhere: no such folder of recipes; name another, or leave it out$"):
        list_recipes(Path("nowhere"))


def test_a_recipe_is_found_by_name_and_a_path_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.chdir(tmp_path)
    for name in ("mmir_i3d", "tiny/mmir_i3d"):
        with caplog.at_level("INFO", "epicsub"):
            assert load_recipe(name).path == shipped("recipes") / f"{name}.yaml"
        assert caplog.messages[-1] == f"recipe {name}: {shipped('recipes') / f'{name}.yaml'}"
    Path("mmir_i3d").write_text(SMALL)
    assert load_recipe("mmir_i3d").path == Path("mmir_i3d")
    for wrong, near in (("mmir_i3", "mmir_i3d or "), ("tiny/mmir_3d", "tiny/mmir_i3d or ")):
        with pytest.raises(
            RecipeError, match=rf"^{wrong}: no such recipe\. Did you mean {near}.*\? `epicsub recipes` lists"
        ):
            load_recipe(wrong)


def test_recipe_of_a_checkpoint_is_checked_too(tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    values = load_recipe(path).recipe.model_dump()
    values["data"]["frames"] = 3
    frames = "data.frames: is 3, must be at least 9: i3d halves time three times and pools what is left"
    with pytest.raises(RecipeError) as refused:
        recipe_from_dict(values, "runs/last.pth")
    assert str(refused.value).splitlines() == [f"runs/last.pth  {frames}", ONE]
    values["sed"] = values.pop("seed")
    with pytest.raises(RecipeError) as refused:
        recipe_from_dict(values, "runs/last.pth")
    assert str(refused.value).splitlines() == ["runs/last.pth  sed: unknown key, did you mean seed?", ONE]


def test_retired_keys_are_read_at_their_old_default_alone():
    recipe = load_recipe("tiny/mmir_task").recipe
    values = recipe.model_dump(mode="json")
    values["adaptation"]["rewards"]["judge"], values["adaptation"]["flush_replay"] = "current", False
    assert recipe_from_dict(values, "runs/last.pth") == recipe
    assert load_recipe("tiny/mmir_task", ["adaptation.flush_replay=false"]).recipe == recipe
    values["adaptation"]["rewards"]["judge"], values["adaptation"]["flush_replay"] = "averaged", True
    with pytest.raises(RecipeError) as refused:
        recipe_from_dict(values, "runs/last.pth")
    retired = "retired in 0.2.0, only its default"
    assert str(refused.value).splitlines() == [
        f"runs/last.pth  adaptation.rewards.judge: {retired} 'current' is read, not 'averaged': leave it out",
        f"runs/last.pth  adaptation.flush_replay: {retired} false is read, not true: leave it out",
        "(2 problems, nothing was started)",
    ]
    assert values["adaptation"]["flush_replay"]  # what is checked is not changed


def test_rewards_of_0_1_0_by_anything_but_the_task_are_refused():
    for old, problem in (
        ("{quantile: 0.2}", "relevance: missing, it must be given: Relevance by the entropy of source predictions"),
        ("{relevance: entropy}", "relevance: is 'entropy', must be one of task"),
    ):
        with pytest.raises(RecipeError, match=rf"adaptation\.rewards\.{problem}"):
            load_recipe("tiny/mmir_i3d", [f"adaptation.rewards={old}"])


def test_overrides_set_any_key(tmp_path: Path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    overrides = [
        "train.stages.0.steps=10",
        "train.stages.1.learning_rate=5e-4",
        "data.augment.scales=[1, .5]",
        "data.workers=0",
        "adaptation={method: adversarial, lam_max: 1e-1}",
        "evaluation.protocol=a=b.yaml",
        "description=on",
        " name = other",
    ]
    loaded = load_recipe(path, overrides)
    recipe = loaded.recipe
    assert (recipe.train.stages[0].steps, recipe.train.stages[1].learning_rate) == (10, 5e-4)
    assert recipe.data.augment.scales == (1.0, 0.5)
    assert recipe.data.workers == 0
    assert recipe.adaptation.model_dump() == {
        "method": "adversarial", "lam_max": 0.1, "discriminator_hidden": 128, "loss_weight": 1.0,
        "correspondence_weight": 0.0,
    }  # fmt: skip
    assert recipe.evaluation.protocol == "a=b.yaml"
    assert (recipe.description, recipe.name) == ("on", "other")
    for key in ("adaptation.method", "adaptation.candidates", "data.workers", "data.augment.scales.0", "name"):
        assert loaded.where(key) == "command line"
    assert loaded.where("data.frames") == f"{path}:9"
    assert path.read_text() == SMALL


WRONG_OVERRIDES = [
    ("foo", "foo: not KEY=VALUE, e.g. train.stages.0.steps=10"),
    ("=3", "=3: not KEY=VALUE, e.g. train.stages.0.steps=10"),
    ("train..steps=3", "train..steps=3: not KEY=VALUE, e.g. train.stages.0.steps=10"),
    ("seed=", "seed: has no value, write KEY=null for none"),
    ("seed=[1", "seed: '[1' is not YAML: a list in brackets breaks off or lacks a comma: write [a, b] (column 3)"),
    (
        "data.augment={flip: 1, flip: 2}",
        "data.augment: '{flip: 1, flip: 2}' is not YAML: written twice, first on line 1, keep one",
    ),
    ("seed.x=3", "seed.x: seed is 1, not a section: it has no key x"),
    ("train.stages.5.steps=1", "train.stages.5.steps: train.stages is a list of 2, numbered from 0: it has no item 5"),
    (
        "train.stages.all.steps=1",
        "train.stages.all.steps: train.stages is a list of 2, numbered from 0: it has no item all",
    ),
    ("data.frmes=4", "data.frmes: unknown key, did you mean data.frames?"),
    ("train.stages.0.step=4", "train.stages.0.step: unknown key, did you mean train.stages.0.steps?"),
    ("data.frames=1e1", "data.frames: is 10.0, must be a whole number"),
    ("train.clip_grad=none", "train.clip_grad: is 'none', must be a number"),
    (
        "train.stages.1.source_batch=48",
        "train.stages.1.source_batch: is 48, must be a multiple of adaptation.candidates (5): the nearest are 45 and 50",
    ),
]


@pytest.mark.parametrize(("override", "text"), WRONG_OVERRIDES)
def test_wrong_override(refusal: Refusal, override: str, text: str):
    assert refusal(SMALL, override) == [f"command line  {text}", ONE]


def test_override_given_twice(refusal: Refusal):
    assert refusal(SMALL, "seed=1", "seed=2") == ["command line  seed: given twice, give it once", ONE]
