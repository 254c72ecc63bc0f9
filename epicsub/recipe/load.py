"""A recipe's file and the command line -> a recipe that can be run, or all problems with file and line."""

import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from epicsub.errors import RecipeError
from epicsub.io import find_shipped, shipped
from epicsub.io.files import may_be_file, read_text, walk_files
from epicsub.recipe.check import check_recipe
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, format_value, read_yaml, subkey
from epicsub.text import join_problems

log = logging.getLogger(__name__)

COMMAND_LINE = 0
"""The "line" of keys that were set on the command line."""


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and where each of its keys was written."""

    recipe: Recipe
    path: Path
    """The file that was read."""
    lines: dict[str, int]
    """Line of each dotted key in the file, from 1; 0 for a key of the command line."""

    def where(self, key: str) -> str:
        """Locate a key.

        Args:
            key: Dotted key.

        Returns:
            `recipes/x.yaml:14` or `command line`; for a default, the section around it.
        """
        return _where(key, self.path, self.lines)

    def to_yaml(self) -> str:
        """Write the resolved recipe.

        Returns:
            YAML with all defaults written out; it loads to the same recipe.
        """
        values = self.recipe.model_dump(mode="json")
        return yaml.safe_dump(values, sort_keys=False, width=100, allow_unicode=True)


class ListedRecipe(NamedTuple):
    """An entry of the list of recipes."""

    path: Path
    name: str
    description: str


def load_recipe(recipe: Path | str, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Read a recipe.

    Args:
        recipe: Path of a file, or name of a shipped recipe, e.g. mmir_i3d or tiny/mmir_i3d; a path that exists wins.
        overrides: `KEY=VALUE`: dotted keys, list indexes from 0, values in YAML.

    Returns:
        The recipe and the file that was read.

    Raises:
        RecipeError: All problems of the file and of the overrides, one per line, each with file, line and key.
    """
    path = find_shipped("recipes", Path(recipe))
    if path != Path(recipe):
        log.info("recipe %s: %s", recipe, path)
    tree = read_yaml(_read(path))
    values, lines, problems = deepcopy(tree.values), dict(tree.lines), list(tree.problems)
    unreadable = values is None and bool(problems)
    override_problems = _apply_overrides(overrides, values, lines)
    loaded = None
    if not unreadable:
        loaded, value_problems = check_recipe(values)
        reported = {problem.key for problem in problems}
        problems += [problem for problem in value_problems if problem.key not in reported]
    if loaded is None or problems or override_problems:
        raise RecipeError(_report(problems, override_problems, path, lines))
    return LoadedRecipe(loaded, path, lines)


def recipe_from_dict(values: Mapping[str, Any], where: str) -> Recipe:
    """Make the recipe that `Recipe.model_dump()` gave, e.g. of a checkpoint, with all checks of a recipe from a file.

    Args:
        values: Of each section.
        where: Where they come from, for messages.

    Returns:
        The recipe.

    Raises:
        RecipeError: All problems, one per line.
    """
    recipe, problems = check_recipe(dict(values))
    if recipe is None:
        raise RecipeError(_closed([f"{where}  {problem.key}: {problem.text}" for problem in problems]))
    return recipe


def list_recipes(folder: Path | None = None) -> list[ListedRecipe]:
    """List all recipes under a folder.

    Args:
        folder: Any; None takes the shipped recipes.

    Returns:
        Recipes by path. One that cannot be loaded has a description that says so.

    Raises:
        RecipeError: There is no such folder.
    """
    folder = shipped("recipes") if folder is None else Path(folder)
    if not folder.is_dir():
        raise RecipeError(f"{folder}: no such folder of recipes; name another, or leave it out")
    return [_listed(path) for path in sorted(_recipes_below(folder), key=lambda path: (len(path.parts), path))]


def _recipes_below(folder: Path) -> list[Path]:
    return [path for path in walk_files(folder, []) if path.suffix == ".yaml" and not path.name.startswith(".")]


def _listed(path: Path) -> ListedRecipe:
    try:
        recipe = load_recipe(path).recipe
    except RecipeError:
        return ListedRecipe(path, path.stem, f"cannot be run as it stands: epicsub show {path} says why")
    return ListedRecipe(path, recipe.name, recipe.description)


def _read(path: Path) -> str:
    if path.is_dir():
        raise RecipeError(f"{path}: is a folder, not a recipe. {_nearby(path)}")
    if not may_be_file(path):
        raise RecipeError(f"{path}: no such recipe. {_nearby(path)}")
    try:
        return read_text(path, RecipeError)
    except RecipeError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        byte = error.__cause__.start
        raise RecipeError(
            f"{path}: not a text file in UTF-8 (byte {byte}), so not a recipe; save it as UTF-8"
        ) from error


def _nearby(given: Path) -> str:
    """Name the recipes beside a path, or the shipped ones whose name is near."""
    folder = given if given.is_dir() else given.parent
    is_path = given.suffix or folder != Path()
    if is_path and (found := [str(path) for path in sorted(folder.glob("[!.]*.yaml"))]):
        near = get_close_matches(str(given), found, 1) if folder != given else []
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{folder} holds {', '.join(Path(name).name for name in found)}{hint}"
    root = shipped("recipes")
    names = [str(path.relative_to(root).with_suffix("")) for path in sorted(_recipes_below(root))]
    near_names = get_close_matches(str(given.with_suffix("")), names)
    hint = f"Did you mean {' or '.join(near_names)}? " if near_names else ""
    return f"{hint}`epicsub recipes` lists all"


def _where(key: str, path: Path, lines: dict[str, int]) -> str:
    while key and key not in lines:
        key = key.rpartition(".")[0]
    line = lines.get(key, 1)
    return "command line" if line == COMMAND_LINE else f"{path}:{line}"


def _report(problems: list[Problem], override_problems: list[Problem], path: Path, lines: dict[str, int]) -> str:
    """Format all problems: those of the file by line, then those of the command line."""
    placed = [
        (f"{path}:{problem.line}" if problem.line else _where(problem.key, path, lines), problem)
        for problem in problems
    ]
    placed += [("command line", problem) for problem in override_problems]

    def order(entry: tuple[str, Problem]) -> tuple[bool, int]:
        line = entry[0].rpartition(":")[2]
        return (not line.isdigit(), int(line) if line.isdigit() else 0)

    return _closed([f"{place}  {problem.key}: {problem.text}" for place, problem in sorted(placed, key=order)])


def _closed(problem_lines: list[str]) -> str:
    return join_problems(problem_lines, "nothing was started")


def _apply_overrides(overrides: Sequence[str], values: Any, lines: dict[str, int]) -> list[Problem]:
    """Set `KEY=VALUE` pairs in `values`, and their keys in `lines`; return the problems of those that cannot be set.

    A key that the file lacks is added, so that one the schema does not know is found with those of the file.
    """
    problems: list[Problem] = []
    seen: set[str] = set()
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        tree = read_yaml(text)
        if not equals or not all(key.split(".")):
            problems.append(Problem(override, "not KEY=VALUE, e.g. train.stages.0.steps=10"))
        elif not text.strip():
            problems.append(Problem(key, "has no value, write KEY=null for none"))
        elif key in seen:
            problems.append(Problem(key, "given twice, give it once"))
        elif tree.problems:
            problems += [Problem(key, f"{format_value(text)} is not YAML: {p.text}") for p in tree.problems]
        elif isinstance(values, dict) and (problem := _set(key, tree.values, values, lines)):
            problems.append(problem)
        seen.add(key)
    return problems


def _set(key: str, value: Any, values: dict[str, Any], lines: dict[str, int]) -> Problem | None:
    """Set one key; return a problem if a part of it does not exist."""
    parts = key.split(".")
    here: Any = values
    path = ""
    for depth, part in enumerate(parts):
        index: str | int = part
        if isinstance(here, dict):
            if part not in here:
                here[part] = {}
                lines[subkey(path, part)] = COMMAND_LINE
        elif isinstance(here, list):
            if not part.isdecimal() or int(part) >= len(here):
                return Problem(key, f"{path} is a list of {len(here)}, numbered from 0: it has no item {part}")
            index = int(part)
        else:
            return Problem(key, f"{path} is {format_value(here)}, not a section: it has no key {part}")
        path = subkey(path, index)
        if depth == len(parts) - 1:
            here[index] = value
            for below in [known for known in lines if known.startswith(f"{path}.")]:
                del lines[below]
            lines[path] = COMMAND_LINE
        here = here[index]
    return None
