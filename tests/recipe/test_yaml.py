"""YAML text: plain values, lines, and what is refused; `KEY=VALUE` of the command line."""
# ruff: noqa: E501  # messages stand whole, as they are printed

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epicsub.recipe import load_recipe
from epicsub.recipe.yaml_tree import Problem, read_yaml

ONE = "(1 problem, nothing was started)"
Said = Callable[..., list[str]]
SMALL = Path(__file__).with_name("small.yaml").read_text()

PLAIN = [
    ("1e-2", 0.01),
    ("1E5", 1e5),
    ("-2.5e+3", -2500.0),
    (".66", 0.66),
    ("5.", 5.0),
    ("+.inf", math.inf),
    ("-.INF", -math.inf),
    ("12", 12),
    ("-3", -3),
    ("010", 10),
    ("0x10", "0x10"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("2024-01-01", "2024-01-01"),
    ("on", "on"),
    ("no", "no"),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("", None),
    ("'1e-2'", "1e-2"),
    ("5x1", "5x1"),
    ("32-true", "32-true"),
    ("!!str 3", "3"),
    ("[1, {b: 2}]", [1, {"b": 2}]),
]


@pytest.mark.parametrize(("text", "value"), PLAIN)
def test_plain_values_are_those_of_yaml_1_2(text: str, value: Any):
    tree = read_yaml(f"a: {text}")
    assert tree.problems == []
    assert tree.values == {"a": value}
    assert type(tree.values["a"]) is type(value)


def test_nan_is_a_number():
    assert math.isnan(read_yaml("a: .nan").values["a"])


def test_lines_are_those_of_the_keys_and_items():
    tree = read_yaml("# title\na: 1\nb:\n  c:\n    - 1\n    -\n      d: 2\n  e: {f: 1,\n      g: 2}\n")
    assert tree.lines == {
        "": 2, "a": 2, "b": 3, "b.c": 4, "b.c.0": 5, "b.c.1": 7, "b.c.1.d": 7, "b.e": 8, "b.e.f": 8, "b.e.g": 9,
    }  # fmt: skip


REFUSED = [
    (
        "a: 1\nb: [1,\nc: 2\n",
        Problem(
            "YAML",
            "expected ',' or ']', but got '<stream end>' (column 1), while parsing a flow sequence from line 2 on",
            4,
        ),
    ),
    ("a: 1\n\tb: 2\n", Problem("YAML", "found character '\\t' that cannot start any token (column 1)", 2)),
    ("a: &x 1\nb: *x\n", Problem("YAML", "alias *x is not read, write the value out (column 4)", 2)),
    ("a: 1\nb: \x01\n", Problem("YAML", "unacceptable character #x0001: special characters are not allowed", 2)),
    ("a: 1\n---\nb: 1\n", Problem("YAML", "found another document (column 1)", 2)),
    ("a: 1\na: 2\n", Problem("a", "written twice, first on line 1", 2)),
    ("a:\n  b: 1\n  c: 2\n  b: 3\n", Problem("a.b", "written twice, first on line 2", 4)),
    ("? [1]\n: 2\n", Problem("YAML", "has a key that is a list or a section, keys are names", 1)),
    ("a: !!int x\n", Problem("a", "tag 'tag:yaml.org,2002:int' is not read, write a plain value", 1)),
    (
        "a: 1\nb: !!python/object:os.system x\n",
        Problem("b", "tag 'tag:yaml.org,2002:python/object:os.system' is not read, write a plain value", 2),
    ),
]


@pytest.mark.parametrize(("text", "problem"), REFUSED)
def test_refused_yaml(text: str, problem: Problem):
    assert read_yaml(text).problems == [problem]


def test_syntax_error_is_told_in_the_form_of_all(said: Said):
    assert said("name: [1\n", "foo") == [
        "small.yaml:2  YAML: expected ',' or ']', but got '<stream end>' (column 1), while parsing a flow sequence from line 1 on",
        "command line  foo: not KEY=VALUE, e.g. train.stages.0.steps=10",
        "(2 problems, nothing was started)",
    ]


@pytest.mark.parametrize(("text", "shown"), [("", "is empty"), ("# only this\n", "is empty"), ("- 1\n", "is [1]")])
def test_a_recipe_is_a_section(said: Said, text: str, shown: str):
    keys = "name, description, seed, supervision, data, classes, model, adaptation, train, evaluation"
    assert said(text) == [f"small.yaml:1  recipe: {shown}, must be a section with the keys {keys}", ONE]


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
    ("seed=[1", "seed: '[1' is not YAML: expected ',' or ']', but got '<stream end>' (column 3)"),
    (
        "data.augment={flip: 1, flip: 2}",
        "data.augment: '{flip: 1, flip: 2}' is not YAML: written twice, first on line 1",
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
def test_wrong_override(said: Said, override: str, text: str):
    assert said(SMALL, override) == [f"command line  {text}", ONE]


def test_override_given_twice(said: Said):
    assert said(SMALL, "seed=1", "seed=2") == ["command line  seed: given twice", ONE]
