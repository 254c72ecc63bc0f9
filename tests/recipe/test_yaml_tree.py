"""YAML text: plain values, lines, and what is refused; `KEY=VALUE` of the command line."""
# ruff: noqa: E501  # messages stand whole, as they are printed

import math
from typing import Any

import pytest

from epicsub.recipe.yaml_tree import Problem, read_yaml
from tests.recipe.conftest import ONE, Refusal

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
            "a list in brackets breaks off or lacks a comma: write [a, b] (column 1; it begins on line 2)",
            4,
        ),
    ),
    (
        "a: 1\n\tb: 2\n",
        Problem(
            "YAML", "a character that cannot begin a value: put quotes around it, or indent by blanks (column 1)", 2
        ),
    ),
    ("a: &x 1\nb: *x\n", Problem("YAML", "alias *x is not read, write the value out (column 4)", 2)),
    ("a: 1\nb: \x01\n", Problem("YAML", "a character '\\x01' that YAML does not allow; take it out", 2)),
    (
        "a: " + "[" * 5000,
        Problem("YAML", "sections and lists lie in each other more than 50 deep; name another file (column 53)", 1),
    ),
    ("a: " + "9" * 5000, Problem("a", "is a number of 5000 digits, 18 are read at most", 1)),
    (
        "".join(f"k{n}: 1\n" for n in range(5000)),
        Problem(
            "YAML",
            "more than 3000 keys and items, as no recipe or protocol has; name another file (column 8)",
            3001,
        ),
    ),
    (
        f"? {'k' * 1_000_000}\n: 1\n",
        Problem("YAML", "has 1000007 characters, a recipe or protocol has 1000000 at most; name another file"),
    ),
    (
        "a: 1\n---\nb: 1\n",
        Problem("YAML", "another document begins: keep one in a file (column 1; it begins on line 1)", 2),
    ),
    ("a: 1\na: 2\n", Problem("a", "written twice, first on line 1, keep one", 2)),
    ("a:\n  b: 1\n  c: 2\n  b: 3\n", Problem("a.b", "written twice, first on line 2, keep one", 4)),
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


def test_syntax_errors_are_reported_like_all_problems(refusal: Refusal):
    assert refusal("name: [1\n", "foo") == [
        "small.yaml:2  YAML: a list in brackets breaks off or lacks a comma: write [a, b] (column 1; it begins on line 1)",
        "command line  foo: not KEY=VALUE, e.g. train.stages.0.steps=10",
        "(2 problems, nothing was started)",
    ]


@pytest.mark.parametrize(("text", "given"), [("", "is empty"), ("# only this\n", "is empty"), ("- 1\n", "is [1]")])
def test_a_recipe_is_a_section(refusal: Refusal, text: str, given: str):
    keys = "name, description, seed, supervision, data, classes, model, adaptation, train, pretext, evaluation"
    assert refusal(text) == [f"small.yaml:1  recipe: {given}, must be a section with the keys {keys}", ONE]
