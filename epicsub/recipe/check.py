"""Plain values -> Recipe, or everything that is wrong with them, with the key that an unknown one was meant to be."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from difflib import SequenceMatcher, get_close_matches
from typing import Any, Literal, get_args, get_origin

import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from epicsub.recipe.base import purpose_of
from epicsub.recipe.relations import check_relations
from epicsub.recipe.schema import Recipe
from epicsub.recipe.yaml_tree import Problem, format_value

RETIRED: Mapping[str, object] = {"adaptation.rewards.judge": "current", "adaptation.flush_replay": False}
"""Keys of older versions by their default. With that value, recipes and checkpoints that name them are still read."""

ALLOWED = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have {min_length} or more items",
    "too_long": "must have at most {max_length} items",
    "value_error": "{error}",
    "list_type": "must be a list",
    **dict.fromkeys(("literal_error", "union_tag_invalid"), "must be one of {choices}"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "must be a section with the keys {keys}"),
}
"""What is allowed, in words, by pydantic's type of error."""

_Location = tuple[str | int, ...]
_UNIONS = {name: str(field.discriminator) for name, field in Recipe.model_fields.items() if field.discriminator}
"""Sections of several kinds, and the key that names the kind: model -> name, adaptation -> method."""
_SAME_SECTION_SIMILARITY = 0.6  # difflib's own default
_OTHER_SECTION_SIMILARITY = 0.8


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


def known_keys(section: type[BaseModel] = Recipe, prefix: str = "") -> list[str]:
    """List all keys of the schema.

    Args:
        section: Where to begin.
        prefix: Its dotted key with a dot at the end.

    Returns:
        Dotted keys; 0 stands for any item of a list.
    """
    found: list[str] = []
    for name, field in section.model_fields.items():
        found += [f"{prefix}{name}", *(f"{prefix}{name}.{key}" for key in _mapping_keys(field))]
        item = "0." if get_origin(field.annotation) is tuple else ""
        for part in _sections_in(field.annotation):
            found += known_keys(part, f"{prefix}{name}.{item}")
    return list(dict.fromkeys(found))


def _without_retired(values: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Remove retired keys; a value other than the default is a problem."""
    kept, problems = deepcopy(values), []
    for key, default in RETIRED.items():
        *parents, name = key.split(".")
        section: Any = kept
        for parent in parents:
            section = _part_of(section, parent)
        if isinstance(section, dict) and name in section and (value := section.pop(name)) != default:
            text = f"retired in 0.2.0, only its default {format_value(default)} is read, not {format_value(value)}"
            problems.append(Problem(key, f"{text}: leave it out"))
    return kept, problems


def _field_problems(errors: list[ErrorDetails], values: dict[str, Any]) -> list[Problem]:
    problems, intended = [], set()
    for location in dict.fromkeys(_unknown_keys(errors, values)):
        text, near = _suggestion(location, values)
        problems.append(Problem(_dotted(location), text))
        intended.add(near)
    for error in errors:
        problem = _problem(error, values)
        # a key that is there but misspelt is one problem, not two
        if problem is not None and not (_is_missing(error) and problem.key in intended):
            problems.append(problem)
    return problems


def _unknown_keys(errors: list[ErrorDetails], values: dict[str, Any]) -> Iterator[_Location]:
    yield from (_location(error) for error in errors if error["type"] == "extra_forbidden")
    yield from (_location(error) for error in errors if error["loc"][-1] == "[key]")
    for error in errors:
        if error["type"].startswith("union_tag"):  # the kind is missing or wrong, and pydantic looks no further
            location = _location(error)
            names = _names_at(location, values)
            yield from ((*location, key) for key in _part_of(values, location[0]) if key not in names)


def _problem(error: ErrorDetails, values: dict[str, Any]) -> Problem | None:
    """Translate one of pydantic's errors; None where it is reported elsewhere or follows from another."""
    location, kind, context = _location(error), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden" or error["loc"][-1] == "[key]":
        return None
    if kind == "too_short" and len(error["input"]) >= context["min_length"]:
        return None  # pydantic counts the valid items alone, and reports the others too
    if kind.startswith("union_tag"):
        location = (*location, _UNIONS[str(location[0])])
    if _is_missing(error):
        section = _sections_at(location[:-1], values)[0]
        return Problem(_dotted(location), f"missing, it must be given: {purpose_of(section, str(location[-1]))}")
    value = _part_of(_part_of(values, location[0]), location[1]) if kind == "union_tag_invalid" else error["input"]
    choices = _choices(location, values)
    words = {"choices": ", ".join(choices), "keys": ", ".join(_names_at(location, values))}
    text = ALLOWED.get(kind, "must be another value").format(**(context | words))
    is_choice = kind in ("literal_error", "union_tag_invalid") and isinstance(value, str)
    if is_choice and (near := get_close_matches(value, choices, 1)):
        text += f"; did you mean {near[0]}?"
    return Problem(_dotted(location), f"is {format_value(value)}, {text}")


def _is_missing(error: ErrorDetails) -> bool:
    return error["type"] in ("missing", "union_tag_not_found")


def _location(error: ErrorDetails) -> _Location:
    """Where the error is in the file: pydantic's location without the kind of a union and the mark of a mapping key."""
    location = error["loc"]
    if location[0] in _UNIONS and len(location) > 1:
        location = (location[0], *location[2:])
    return tuple(part for part in location if part != "[key]")


def _suggestion(location: _Location, values: Any) -> tuple[str, str | None]:
    """What an unknown key was meant to be, as a message, and the nearest key, if one is near."""
    parent, name = location[:-1], str(location[-1])
    siblings = _names_at(parent, values)
    if kinds := _kinds_with(parent, name, values):
        discriminator = _UNIONS[str(parent[0])]
        kind = _part_of(_part_of(values, str(parent[0])), discriminator)
        return f"unknown key for {discriminator} {kind}, it belongs to {' and '.join(kinds)}", None
    if near := _nearest(parent, name, siblings, values):
        return f"unknown key, did you mean {near}?", near
    return f"unknown key, the keys of {_dotted(parent) or 'a recipe'} are {', '.join(siblings)}", None


def _kinds_with(parent: _Location, name: str, values: Any) -> list[str]:
    """Other kinds of the union at `parent` that have the key `name`."""
    if len(parent) != 1 or parent[0] not in _UNIONS:
        return []
    own = _sections_at(parent, values)
    others = [section for section in _sections_at(parent, None) if section not in own]
    return [_kind_names(other, _UNIONS[str(parent[0])])[0] for other in others if name in other.model_fields]


def _nearest(parent: _Location, name: str, siblings: list[str], values: Any) -> str | None:
    """The key whose last name is nearest to `name`: of the same section if one is near, else of another."""
    ranked = [(_similarity(name, sibling), _dotted((*parent, sibling))) for sibling in siblings]
    best = max(ranked, key=lambda entry: entry[0], default=(0.0, ""))
    if best[0] >= _OTHER_SECTION_SIMILARITY:
        return best[1]
    top = str(parent[0]) if parent else ""
    others = []
    for key in known_keys():
        section, _, below = key.partition(".")
        if not below or section not in _UNIONS or below.split(".")[0] in _names_at((section,), values):
            others.append((_similarity(name, key.rpartition(".")[2]), not top or section == top, key))
    other = max(others, key=lambda entry: entry[:2])
    if other[0] >= _OTHER_SECTION_SIMILARITY:
        return other[2]
    return best[1] if best[0] >= _SAME_SECTION_SIMILARITY else None


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _dotted(location: _Location) -> str:
    return ".".join(map(str, location))


def _part_of(values: Any, part: str | int) -> Any:
    """Item or entry of plain values, None if there is none."""
    if isinstance(part, int):
        return values[part] if isinstance(values, list | tuple) and part < len(values) else None
    return values.get(part) if isinstance(values, dict) else None


def _sections_in(annotation: object) -> list[type[BaseModel]]:
    """Sections that a field may hold, directly, in a list, or as kinds of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _sections_at(location: _Location, values: Any) -> list[type[BaseModel]]:
    """Sections that may stand at a location of `values`: one, or all kinds of a union whose kind is unknown."""
    sections: list[type[BaseModel]] = [Recipe]
    for part in location:
        values = _part_of(values, part)
        if isinstance(part, int):
            continue
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = _sections_in(fields[0].annotation) if fields else []
        if fields and isinstance(discriminator := fields[0].discriminator, str):
            kind = _part_of(values, discriminator)
            sections = [s for s in sections if kind in _kind_names(s, discriminator)] or sections
    return sections


def _field_at(location: _Location, values: Any) -> FieldInfo | None:
    """Field of the schema at a location; None if there is none, or the kind of a union is unknown."""
    sections = _sections_at(location[:-1], values)
    return sections[0].model_fields.get(str(location[-1])) if len(sections) == 1 else None


def _names_at(location: _Location, values: Any) -> list[str]:
    """Names of the keys that may stand in the section at a location."""
    if sections := _sections_at(location, values):
        return list(dict.fromkeys(name for section in sections for name in section.model_fields))
    field = _field_at(location, values)
    return _mapping_keys(field) if field else []


def _mapping_keys(field: FieldInfo) -> list[str]:
    """Keys of a field that is a mapping with named keys (`model.weights`) or null, else none."""
    annotation = next((part for part in get_args(field.annotation) if get_origin(part) is dict), field.annotation)
    return list(get_args(get_args(annotation)[0])) if get_origin(annotation) is dict else []


def _kind_names(section: type[BaseModel], discriminator: str) -> tuple[str, ...]:
    """Values of the discriminator that mean this section."""
    return get_args(section.model_fields[discriminator].annotation)


def _choices(location: _Location, values: Any) -> list[str]:
    """Words that may stand at a location; none where anything else may."""
    if len(location) == 2 and (discriminator := _UNIONS.get(str(location[0]))) == location[1]:
        return [name for kind in _sections_at(location[:1], None) for name in _kind_names(kind, str(discriminator))]
    field = _field_at(location[:-1] if isinstance(location[-1], int) else location, values)
    return _literals(field.annotation) if field else []


def _literals(annotation: object) -> list[str]:
    """Values of a Literal, wherever it stands in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in _literals(part)]
