"""Plain values -> Recipe, or everything that is wrong with them."""

from collections.abc import Callable
from typing import Any, cast

import pydantic
from pydantic_core import ErrorDetails

from epicsub.recipe.keys import (
    UNIONS,
    Location,
    dotted,
    field_at,
    kind_names,
    literal_choices,
    meant_by,
    names_at,
    nearest_choice,
    part_of,
    sections_at,
)
from epicsub.recipe.relations import broken_relations
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, shown


def check(values: Any) -> tuple[Recipe | None, list[Problem]]:
    """The recipe that plain values make, or every problem: keys, types and ranges, and settings that do not fit.

    A relation between settings is checked where the settings that it needs have no problem of their own.
    """
    if not isinstance(values, dict):
        said = "is empty" if values is None else f"is {shown(values)}"
        return None, [Problem("recipe", f"{said}, must be a section with the keys {', '.join(Recipe.model_fields)}")]
    recipe: Recipe | None = None
    problems: list[Problem] = []
    suspects: set[str] = set()
    try:
        recipe = Recipe.model_validate(values)
    except pydantic.ValidationError as error:
        problems, suspects = _translated(error.errors(include_url=False), values)
    problems += broken_relations(values, suspects | {problem.key for problem in problems})
    return (None if problems else recipe), problems


def _translated(errors: list[ErrorDetails], values: dict[str, Any]) -> tuple[list[Problem], set[str]]:
    """Pydantic's errors as problems, and the keys that misspelt ones were probably meant to be."""
    unknown = [_location(e) for e in errors if e["type"] == "extra_forbidden"] + _misnamed_keys(errors)
    unknown += _keys_beside_unknown_kind(errors, values)
    problems, meant = [], set()
    for location in unknown:
        guess = meant_by(location, values)
        problems.append(Problem(dotted(location), guess.text))
        if guess.key:
            meant.add(guess.key)
    for error in errors:
        problem = _problem(error, values)
        # a key that is there but misspelt is one problem, not two
        if problem is not None and not (_is_missing(error) and problem.key in meant):
            problems.append(problem)
    return problems, meant


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
    """One of pydantic's errors in our words; None where it is told elsewhere or follows from another."""
    location, kind, context = _location(error), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden" or error["loc"][-1] == "[key]":
        return None
    if kind == "too_short" and len(error["input"]) >= context["min_length"]:
        return None  # pydantic counts only the items that are right, and tells of the others too
    if kind.startswith("union_tag"):
        location = (*location, UNIONS[str(location[0])])
    if _is_missing(error):
        return Problem(dotted(location), f"missing, it must be given: {_purpose(location, values)}")
    value = part_of(part_of(values, location[0]), location[1]) if kind == "union_tag_invalid" else error["input"]
    if kind == "value_error":
        allowed = str(context["error"])
    else:
        allowed = ALLOWED.get(kind, lambda *_: error["msg"])(context, location, values)
    if kind in ("literal_error", "union_tag_invalid"):
        allowed += _or_meant(value, location, values)
    return Problem(dotted(location), f"is {shown(value)}, {allowed}")


def _purpose(location: Location, values: Any) -> str:
    """The schema's words for a key."""
    section = sections_at(location[:-1], values)[0]
    return (section.model_fields[str(location[-1])].description or "").removesuffix(".")


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


def _or_meant(value: object, location: Location, values: Any) -> str:
    """For a word that is not among the choices: the nearest one."""
    near = nearest_choice(value, _choices(location, values)) if isinstance(value, str) else None
    return f"; did you mean {near}?" if near else ""


def _bound(word: str, name: str) -> Callable[[dict[str, Any], Location, Any], str]:
    def said(context: dict[str, Any], location: Location, values: Any) -> str:
        bound = cast(float, context[name])
        return f"must be {word} {bound:g}"

    return said


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
