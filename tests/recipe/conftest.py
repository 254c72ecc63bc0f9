"""A small right recipe, changes of it, and what `load_recipe` says about them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from epicsub.errors import RecipeError
from epicsub.recipe import load_recipe

SMALL = Path(__file__).with_name("small.yaml").read_text()


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
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lines of the refusal of a recipe, written to small.yaml."""
    monkeypatch.chdir(tmp_path)

    def lines(text: str, *overrides: str) -> list[str]:
        Path("small.yaml").write_text(text)
        with pytest.raises(RecipeError) as refused:
            load_recipe(Path("small.yaml"), overrides)
        return str(refused.value).splitlines()

    return lines
