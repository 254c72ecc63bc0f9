"""A recipe's file and the command line -> a recipe that can be run, or every problem with its file and line."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from epicsub.errors import RecipeError
from epicsub.io import find_shipped
from epicsub.recipe.check import check
from epicsub.recipe.keys import nearest_choice
from epicsub.recipe.overrides import COMMAND_LINE, apply_overrides
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, read_yaml


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and where each of its keys was written."""

    recipe: Recipe
    path: Path
    lines: dict[str, int]
    """Line of each dotted key in the file, from 1; 0 for a key of the command line."""

    def where(self, key: str) -> str:
        """Where a dotted key was written: `recipes/x.yaml:14` or `command line`; for a default, the part around it."""
        return _where(key, self.path, self.lines)

    def to_yaml(self) -> str:
        """The resolved recipe with every default written out; it loads to the same recipe."""
        values = self.recipe.model_dump(mode="json")
        return yaml.safe_dump(values, sort_keys=False, width=100, allow_unicode=True)


class ListedRecipe(NamedTuple):
    """A line of the list of recipes."""

    path: Path
    name: str
    description: str


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read a recipe, with `KEY=VALUE` overrides: dotted keys, list indexes from 0, values in YAML.

    Raises:
        RecipeError: every problem of the file and of the overrides, one a line, each with file, line and key.
    """
    path = find_shipped("recipes", Path(path))
    tree = read_yaml(_text(path))
    values, lines, problems = deepcopy(tree.values), dict(tree.lines), list(tree.problems)
    unreadable = values is None and bool(problems)
    wrong_overrides = apply_overrides(overrides, values, lines)
    recipe = None
    if not unreadable:
        recipe, wrong_values = check(values)
        twice = {problem.key for problem in problems}
        problems += [problem for problem in wrong_values if problem.key not in twice]
    if recipe is None or problems or wrong_overrides:
        raise RecipeError(_report(problems, wrong_overrides, path, lines))
    return LoadedRecipe(recipe, path, lines)


def recipe_from_dict(values: Mapping[str, Any], where: str) -> Recipe:
    """The recipe that `Recipe.model_dump()` gave, e.g. from a checkpoint, checked as one from a file.

    Raises:
        RecipeError: every problem, one a line; `where` says where the values came from.
    """
    recipe, problems = check(dict(values))
    if recipe is None:
        raise RecipeError(_closed([f"{where}  {problem.key}: {problem.text}" for problem in problems]))
    return recipe


def list_recipes(folder: Path) -> list[ListedRecipe]:
    """Every recipe under a folder, by path. One that cannot be loaded is listed with how to see why.

    Raises:
        RecipeError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder of recipes")
    return [_listed(path) for path in sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path))]


def _listed(path: Path) -> ListedRecipe:
    try:
        recipe = load_recipe(path).recipe
    except RecipeError:
        return ListedRecipe(path, path.stem, f"cannot be run as it stands: epicsub show {path} says why")
    return ListedRecipe(path, recipe.name, recipe.description)


def _text(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder, not a recipe. {_recipes_in(path, path)}")
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe. {_recipes_in(path.parent, path)}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not a text file in UTF-8 (byte {error.start}), so not a recipe") from error
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error


def _recipes_in(folder: Path, wanted: Path) -> str:
    found = [str(path) for path in sorted(folder.glob("*.yaml"))] if folder.is_dir() else []
    if not found:
        return "`epicsub recipes` lists those there are"
    near = nearest_choice(wanted, found)
    meant = f"; did you mean {near}?" if near and wanted != folder else ""
    return f"{folder} has {', '.join(Path(name).name for name in found)}{meant}"


def _where(key: str, path: Path, lines: dict[str, int]) -> str:
    while key and key not in lines:
        key = key.rpartition(".")[0]
    line = lines.get(key, 1)
    return "command line" if line == COMMAND_LINE else f"{path}:{line}"


def _report(problems: list[Problem], wrong_overrides: list[Problem], path: Path, lines: dict[str, int]) -> str:
    """All problems, those of the file by line, then those of the command line."""
    placed = [
        (f"{path}:{problem.line}" if problem.line else _where(problem.key, path, lines), problem)
        for problem in problems
    ]
    placed += [("command line", problem) for problem in wrong_overrides]

    def order(entry: tuple[str, Problem]) -> tuple[bool, int]:
        line = entry[0].rpartition(":")[2]
        return (not line.isdigit(), int(line) if line.isdigit() else 0)

    return _closed([f"{place}  {problem.key}: {problem.text}" for place, problem in sorted(placed, key=order)])


def _closed(problem_lines: list[str]) -> str:
    count = len(problem_lines)
    return "\n".join([*problem_lines, f"({count} problem{'s' if count != 1 else ''}, nothing was started)"])
