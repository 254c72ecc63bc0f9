"""Plain values -> Recipe, or everything that is wrong with them."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, cast

import pydantic
from pydantic_core import ErrorDetails

from epicsub.recipe.base import purpose_of
from epicsub.recipe.keys import (
    UNIONS,
    Location,
    dotted_key,
    field_at,
    kind_names,
    literal_choices,
    names_at,
    nearest_choice,
    part_of,
    sections_at,
    suggest_key,
)
from epicsub.recipe.relations import check_relations
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, format_value

RETIRED: Mapping[str, object] = {}
"""Keys of older versions by their default. With that value, recipes and checkpoints that name them are still read."""


def check_recipe(values: Any) -> tuple[Recipe | None, list[Problem]]:
    """Make a recipe of plain values, or list its problems.

    Args:
        values: As read from YAML.

    Returns:
        The recipe, None where there are problems; and all problems of keys, types and ranges, or, if there are none,
        all of settings that do not fit each other.
    """
    if not isinstance(values, dict):
        given = "is empty" if values is None else f"is {format_value(values)}"
        return None, [Problem("recipe", f"{given}, must be a section with the keys {', '.join(Recipe.model_fields)}")]
    values, problems = _without_retired(values)
    try:
        recipe = Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        return None, problems + _field_problems(error.errors(include_url=False), values)
    problems = problems or list(check_relations(recipe))
    return (None if problems else recipe), problems


def _without_retired(values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Remove retired keys; a value other than the default is a problem."""
    kept, problems = deepcopy(values), []
    for key, default in RETIRED.items():
        *parents, name = key.split(".")
        section: Any = kept
        for parent in parents:
            section = part_of(section, parent)
        if isinstance(section, dict) and name in section and (value := section.pop(name)) != default:
            text = f"is {format_value(value)}, retired in 0.2.0: only its default {format_value(default)} is read"
            problems.append(Problem(key, f"{text}, leave it out"))
    return kept, problems


def _field_problems(errors: list[ErrorDetails], values: dict[str, Any]) -> list[Problem]:
    unknown = [_location(e) for e in errors if e["type"] == "extra_forbidden"] + _misnamed_keys(errors)
    unknown += _keys_beside_unknown_kind(errors, values)
    suggestions = {location: suggest_key(location, values) for location in unknown}
    problems = [Problem(dotted_key(location), suggestion.text) for location, suggestion in suggestions.items()]
    intended = {suggestion.key for suggestion in suggestions.values()}
    for error in errors:
        problem = _problem(error, values)
        # a key that is there but misspelt is one problem, not two
        if problem is not None and not (_is_missing(error) and problem.key in intended):
            problems.append(problem)
    return problems


def _location(error: ErrorDetails) -> Location:
    """Where the error is in the file: pydantic's location without the kind of a union and the mark of a mapping key."""
    location = error["loc"]
    if location[0] in UNIONS and len(location) > 1:
        location = (location[0], *location[2:])
    return tuple(part for part in location if part != "[key]")


def _misnamed_keys(errors: list[ErrorDetails]) -> list[Location]:
    return [_location(error) for error in errors if error["loc"][-1] == "[key]"]


def _keys_beside_unknown_kind(errors: list[ErrorDetails], values: dict[str, Any]) -> list[Location]:
    """Keys that no kind of a union knows, where the kind is missing or wrong and pydantic looks no further."""
    found: list[Location] = []
    for error in errors:
        if error["type"].startswith("union_tag"):
            location = _location(error)
            names = names_at(location, values)
            found += [(*location, key) for key in part_of(values, location[0]) if key not in names]
    return found


def _is_missing(error: ErrorDetails) -> bool:
    return error["type"] in ("missing", "union_tag_not_found")


def _problem(error: ErrorDetails, values: dict[str, Any]) -> Problem | None:
    """Translate one of pydantic's errors; None where it is reported elsewhere or follows from another."""
    location, kind, context = _location(error), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden" or error["loc"][-1] == "[key]":
        return None
    if kind == "too_short" and len(error["input"]) >= context["min_length"]:
        return None  # pydantic counts the valid items alone, and reports the others too
    if kind.startswith("union_tag"):
        location = (*location, UNIONS[str(location[0])])
    if _is_missing(error):
        section = sections_at(location[:-1], values)[0]
        return Problem(dotted_key(location), f"missing, it must be given: {purpose_of(section, str(location[-1]))}")
    value = part_of(part_of(values, location[0]), location[1]) if kind == "union_tag_invalid" else error["input"]
    if kind == "value_error":
        allowed = str(context["error"])
    else:
        allowed = ALLOWED[kind](context, location, values) if kind in ALLOWED else error["msg"]
    if kind in ("literal_error", "union_tag_invalid"):
        allowed += _nearest_hint(value, location, values)
    return Problem(dotted_key(location), f"is {format_value(value)}, {allowed}")


def _choices(location: Location, values: Any) -> list[str]:
    """Words that may stand at a location; none where anything else may."""
    if len(location) == 2 and UNIONS.get(str(location[0])) == location[1]:
        kinds = sections_at(location[:1], None)
        return [name for kind in kinds for name in kind_names(kind, str(location[1]))]
    name = location[:-1] if isinstance(location[-1], int) else location
    field = field_at(name, values)
    return literal_choices(field.annotation) if field else []


def _one_of(context: dict[str, Any], location: Location, values: Any) -> str:
    return f"must be one of {', '.join(_choices(location, values))}"


def _section_of(context: dict[str, Any], location: Location, values: Any) -> str:
    return f"must be a section with the keys {', '.join(names_at(location, values))}"


def _nearest_hint(value: object, location: Location, values: Any) -> str:
    """Name the choice nearest to a word that is not among them."""
    near = nearest_choice(value, _choices(location, values)) if isinstance(value, str) else None
    return f"; did you mean {near}?" if near else ""


def _bound(word: str, name: str) -> Callable[[dict[str, Any], Location, Any], str]:
    return lambda context, location, values: f"must be {word} {cast(float, context[name]):g}"


def _fixed(text: str) -> Callable[[dict[str, Any], Location, Any], str]:
    return lambda context, location, values: text


ALLOWED: dict[str, Callable[[dict[str, Any], Location, Any], str]] = {
    "int_type": _fixed("must be a whole number"),
    "int_from_float": _fixed("must be a whole number"),
    "float_type": _fixed("must be a number"),
    "finite_number": _fixed("must be a finite number"),
    "string_type": _fixed("must be text"),
    "string_too_short": _fixed("must not be empty"),
    "bool_type": _fixed("must be true or false"),
    "tuple_type": _fixed("must be a list"),
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "literal_error": _one_of,
    "union_tag_invalid": _one_of,
    "model_type": _section_of,
    "model_attributes_type": _section_of,
    "dict_type": _section_of,
    "too_short": lambda context, *_: f"must have {context['min_length']} or more items",
    "too_long": lambda context, *_: f"must have at most {context['max_length']} items",
}
"""What is allowed, in words, by pydantic's type of error."""
