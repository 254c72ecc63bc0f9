"""The keys that a recipe has, and the one that an unknown key was meant to be."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from epicsub.recipe.schema import Recipe

Location = tuple[str | int, ...]
UNIONS = {name: str(field.discriminator) for name, field in Recipe.model_fields.items() if field.discriminator}
"""Sections of several kinds, and the key that names the kind: model -> name, adaptation -> method."""

SIBLING_SIMILARITY = 0.6  # difflib's own default
OTHER_SIMILARITY = 0.8  # a key of another section must be nearer to be meant


class Suggestion(NamedTuple):
    """What an unknown key was meant to be."""

    text: str
    """The message, without the key."""
    key: str | None
    """The nearest dotted key, if one is near."""


def dotted_key(location: Location) -> str:
    """Format a location as a dotted key.

    Args:
        location: In pydantic's form.

    Returns:
        E.g. train.stages.0.steps.
    """
    return ".".join(map(str, location))


def _sections_in(annotation: object) -> list[type[BaseModel]]:
    """Sections that a field may hold, directly, in a list, or as kinds of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections_in(part)]


def _mapping_keys(annotation: object) -> list[str]:
    """Keys of a field that is a mapping with named keys (`model.weights`) or null, else none."""
    annotation = next((part for part in get_args(annotation) if get_origin(part) is dict), annotation)
    if get_origin(annotation) is not dict:
        return []
    return list(get_args(get_args(annotation)[0]))


def kind_names(section: type[BaseModel], discriminator: str) -> Sequence[str]:
    """List the names of a section of a union.

    Args:
        section: One kind.
        discriminator: The key that names the kind.

    Returns:
        Values of the discriminator that mean this section.
    """
    return get_args(section.model_fields[discriminator].annotation)


def part_of(values: Any, part: str | int) -> Any:
    """Look up an item or entry.

    Args:
        values: Plain values.
        part: An index of a list or a key of a dict.

    Returns:
        What stands there, None if nothing does.
    """
    if isinstance(part, int):
        return values[part] if isinstance(values, list | tuple) and part < len(values) else None
    return values.get(part) if isinstance(values, dict) else None


def sections_at(location: Location, values: Any, narrow: bool = True) -> list[type[BaseModel]]:
    """List the sections that may stand at a location.

    Args:
        location: Keys and indexes from the root.
        values: Plain values of the whole recipe, which say the kinds of unions.
        narrow: False gives all kinds of a union.

    Returns:
        One section, all kinds of a union if the kind is unknown, none if no section stands there.
    """
    sections: list[type[BaseModel]] = [Recipe]
    for part in location:
        values = part_of(values, part)
        if isinstance(part, int):
            continue
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = _sections_in(fields[0].annotation) if fields else []
        discriminator = fields[0].discriminator if fields else None
        if narrow and isinstance(discriminator, str):
            kind = part_of(values, discriminator)
            sections = [s for s in sections if kind in kind_names(s, discriminator)] or sections
    return sections


def field_at(location: Location, values: Any) -> FieldInfo | None:
    """Look up a field of the schema.

    Args:
        location: Keys and indexes from the root.
        values: Plain values of the whole recipe, which say the kinds of unions.

    Returns:
        The field, None if the schema has none there or the kind of a union is unknown.
    """
    sections = sections_at(location[:-1], values)
    return sections[0].model_fields.get(str(location[-1])) if len(sections) == 1 else None


def names_at(location: Location, values: Any) -> list[str]:
    """List the keys that may stand in a section.

    Args:
        location: Of the section.
        values: Plain values of the whole recipe, which say the kinds of unions.

    Returns:
        Their names, without the section's.
    """
    sections = sections_at(location, values)
    if sections:
        return list(dict.fromkeys(name for section in sections for name in section.model_fields))
    field = field_at(location, values) if location else None
    return _mapping_keys(field.annotation) if field else []


def known_keys(section: type[BaseModel] = Recipe, prefix: Location = ()) -> list[Location]:
    """List all keys of the schema.

    Args:
        section: Where to begin.
        prefix: Its location.

    Returns:
        Locations; 0 stands for any item of a list.
    """
    found: list[Location] = []
    for name, field in section.model_fields.items():
        here: Location = (*prefix, name)
        found.append(here)
        found += [(*here, key) for key in _mapping_keys(field.annotation)]
        inside: Location = (*here, 0) if get_origin(field.annotation) is tuple else here
        for part in _sections_in(field.annotation):
            found += known_keys(part, inside)
    return list(dict.fromkeys(found))


def suggest_key(location: Location, values: Any) -> Suggestion:
    """Suggest what an unknown key was meant to be.

    Args:
        location: Of the unknown key.
        values: Plain values of the whole recipe.

    Returns:
        The kinds of a union that have the key, else the nearest known key, else the keys of its section.
    """
    parent, name = location[:-1], str(location[-1])
    siblings = names_at(parent, values)
    kinds = _kinds_with(parent, name, values)
    if kinds:
        discriminator = UNIONS[str(parent[0])]
        kind = part_of(part_of(values, str(parent[0])), discriminator)
        return Suggestion(f"unknown key for {discriminator} {kind}, it belongs to {' and '.join(kinds)}", None)
    near = _nearest(parent, name, siblings, values)
    if near:
        return Suggestion(f"unknown key, did you mean {near}?", near)
    return Suggestion(f"unknown key, the keys of {dotted_key(parent) or 'a recipe'} are {', '.join(siblings)}", None)


def _kinds_with(parent: Location, name: str, values: Any) -> list[str]:
    """Other kinds of the union at `parent` that have the key `name`."""
    if len(parent) != 1 or parent[0] not in UNIONS:
        return []
    discriminator = UNIONS[str(parent[0])]
    others = [s for s in sections_at(parent, values, narrow=False) if s not in sections_at(parent, values)]
    return [kind_names(section, discriminator)[0] for section in others if name in section.model_fields]


def _nearest(parent: Location, name: str, siblings: Sequence[str], values: Any) -> str | None:
    """The key whose last name is nearest to `name`: of the same section if one is near, else of another."""
    ranked = [(_similarity(name, sibling), dotted_key((*parent, sibling))) for sibling in siblings]
    best = max(ranked, key=lambda entry: entry[0], default=(0.0, ""))
    if best[0] >= OTHER_SIMILARITY:
        return best[1]
    top = parent[:1]
    others = [
        (_similarity(name, str(key[-1])), key[: len(top)] == top, dotted_key(key))
        for key in known_keys()
        if key[0] not in UNIONS or key[1:2] == () or key[1] in names_at(key[:1], values)  # not of another kind
    ]
    other = max(others, key=lambda entry: entry[:2])
    if other[0] >= OTHER_SIMILARITY:
        return other[2]
    return best[1] if best[0] >= SIBLING_SIMILARITY else None


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def nearest_choice(value: object, choices: Sequence[str]) -> str | None:
    """Find the choice nearest to a value.

    Args:
        value: What was given.
        choices: What may be given.

    Returns:
        The nearest, None if none is near.
    """
    ranked = [(_similarity(str(value), choice), choice) for choice in choices]
    best = max(ranked, key=lambda entry: entry[0], default=(0.0, ""))
    return best[1] if best[0] >= SIBLING_SIMILARITY else None


def literal_choices(annotation: object) -> list[str]:
    """List the values of a Literal.

    Args:
        annotation: A type that has one at any depth.

    Returns:
        The values, none if there is no Literal.
    """
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in literal_choices(part)]
