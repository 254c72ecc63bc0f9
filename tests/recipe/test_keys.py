"""Every key that a check names is a key of the schema."""

import ast
import re
from pathlib import Path

import pytest

from epicsub.recipe import Recipe
from epicsub.recipe.check import known_keys

PACKAGE = Path(__file__).parents[2] / "epicsub" / "recipe"
KNOWN = set(known_keys())


def patterns(source: str) -> set[str]:
    """Regular expressions of all keys in a file's code: texts that begin with a section, first arguments of Problem."""
    nodes = list(ast.walk(ast.parse(source)))
    inside = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = {pattern_of(node) for node in nodes if id(node) not in inside}
    first = {pattern_of(n.args[0]) for n in nodes if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "Problem"}
    keys = re.compile(rf"({'|'.join(Recipe.model_fields)})\\\.\S+")
    return {text for text in texts if text and keys.fullmatch(text)} | {text for text in first if text}


def pattern_of(node: ast.AST) -> str | None:
    """Regular expression of a text or f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern_of(part) or ".+" for part in node.values)
    return None


@pytest.mark.parametrize("name", [p.stem for p in sorted(PACKAGE.glob("*.py")) if p.stem not in ("check", "load")])
def test_keys_of_checks_are_in_the_schema(name: str) -> None:
    items = KNOWN | {f"{key}.0" for key in KNOWN}
    for pattern in patterns((PACKAGE / f"{name}.py").read_text()):
        if pattern not in ("YAML",):
            assert any(re.fullmatch(pattern, key) for key in items), f"{name}.py: {pattern}"


def test_the_walk_finds_a_misspelt_key() -> None:
    found = patterns('Problem("adaptation.removal", ""); Problem(f"{key}.stepps", ""); check("model.dimms", x)')
    assert found == {r"adaptation\.removal", r".+\.stepps", r"model\.dimms"}
    assert not any(re.fullmatch(pattern, key) for pattern in found for key in KNOWN)
