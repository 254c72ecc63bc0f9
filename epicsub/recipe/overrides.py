"""`KEY=VALUE` from the command line, put into the plain values of a recipe before they are checked."""

from collections.abc import Sequence
from typing import Any

from epicsub.recipe.yaml_tree import Problem, joined, read_yaml, shown

COMMAND_LINE = 0
"""The "line" of keys that were set on the command line."""


def apply_overrides(overrides: Sequence[str], values: Any, lines: dict[str, int]) -> list[Problem]:
    """Set `KEY=VALUE` pairs in `values`, note their keys in `lines`, and give the problems of those that cannot be.

    A key that the file lacks is made, so that one the schema does not know is found with those of the file.
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
            problems.append(Problem(key, "given twice"))
        elif tree.problems:
            problems += [Problem(key, f"{shown(text)} is not YAML: {problem.text}") for problem in tree.problems]
        elif isinstance(values, dict):
            problems += _set(key, tree.values, values, lines)
        seen.add(key)
    return problems


def _set(key: str, value: Any, values: dict[str, Any], lines: dict[str, int]) -> list[Problem]:
    """Set one key; a problem where the way to it does not exist."""
    parts = key.split(".")
    here: Any = values
    path = ""
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(here, dict):
            index: str | int = part
            if part not in here:
                here[part] = {}
                lines[joined(path, part)] = COMMAND_LINE
        elif isinstance(here, list):
            if not part.isdecimal() or int(part) >= len(here):
                return [Problem(key, f"{path} is a list of {len(here)}, numbered from 0: it has no item {part}")]
            index = int(part)
        else:
            return [Problem(key, f"{path} is {shown(here)}, not a section: it has no key {part}")]
        path = joined(path, index)
        if last:
            here[index] = value
            _forget_below(path, lines)
            lines[path] = COMMAND_LINE
        here = here[index]
    return []


def _forget_below(key: str, lines: dict[str, int]) -> None:
    """Drop the lines of what an override has replaced."""
    for below in [known for known in lines if known.startswith(f"{key}.")]:
        del lines[below]
