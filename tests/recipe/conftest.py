"""A small valid recipe, changes of it, and how `load_recipe` refuses them."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from epicsub.errors import RecipeError
from epicsub.recipe import Recipe, load_recipe
from epicsub.recipe.check import known_keys
from epicsub.recipe.relations import check_relations
from epicsub.recipe.yaml_tree import Problem

SMALL_PATH = Path(__file__).with_name("small.yaml")
SMALL = SMALL_PATH.read_text()
ONE = "(1 problem, nothing was started)"
Refusal = Callable[..., list[str]]
Small = Callable[[dict[str, str]], str]
KEYS = set(known_keys())


def line_of(text: str, part: str) -> int:
    """Line of the first occurrence of a part of the text."""
    return text[: text.index(part)].count("\n") + 1


@pytest.fixture(autouse=True, scope="session")
def checked_keys() -> Iterator[None]:
    """In all tests, every key that a check between settings names is one of the schema."""

    def checked(recipe: Recipe) -> Iterator[Problem]:
        for problem in check_relations(recipe):
            assert re.sub(r"\.\d+", ".0", problem.key).removesuffix(".0") in KEYS, problem
            yield problem

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("epicsub.recipe.check.check_relations", checked)
        yield


@pytest.fixture(scope="session")
def small() -> Callable[..., str]:
    """The small recipe's text, with each key of the argument replaced by its value."""

    def text(changes: dict[str, str]) -> str:
        changed = SMALL
        for old, new in changes.items():
            assert changed.count(old) == 1, old
            changed = changed.replace(old, new)
        return changed

    return text


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lines of the refusal of a recipe, written to small.yaml."""
    monkeypatch.chdir(tmp_path)

    def lines(text: str, *overrides: str) -> list[str]:
        Path("small.yaml").write_text(text)
        with pytest.raises(RecipeError) as refused:
            load_recipe(Path("small.yaml"), overrides)
        return str(refused.value).splitlines()

    return lines
