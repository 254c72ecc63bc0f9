"""Which keys a recipe knows, and which of them was meant."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from epicsub.recipe.schema import Recipe

Location = tuple[str | int, ...]
UNIONS = {name: str(field.discriminator) for name, field in Recipe.model_fields.items() if field.discriminator}
"""Sections with several kinds, and the key that tells the kind: model -> name, adaptation -> method."""

SIBLING_LIKENESS = 0.6  # difflib's own default
STRANGER_LIKENESS = 0.8  # a key of another section must be nearer to be meant


class Meant(NamedTuple):
    """What was probably meant by an unknown key."""

    text: str
    """The message, without the key."""
    key: str | None
    """Dotted key that was meant, where one is near."""


def dotted(location: Location) -> str:
    """Location in pydantic's form -> dotted key."""
    return ".".join(map(str, location))


def sections_in(annotation: object) -> list[type[BaseModel]]:
    """Sections that a field may hold, directly, in a list, or as kinds of a union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]


def mapping_keys(annotation: object) -> list[str]:
    """Keys of a field that is a mapping with named keys (`model.weights`) or null, else none."""
    annotation = next((part for part in get_args(annotation) if get_origin(part) is dict), annotation)
    if get_origin(annotation) is not dict:
        return []
    return list(get_args(get_args(annotation)[0]))


def kind_names(section: type[BaseModel], discriminator: str) -> Sequence[str]:
    """Values of the discriminator that mean this section."""
    return get_args(section.model_fields[discriminator].annotation)


def part_of(values: Any, part: str | int) -> Any:
    """Item or entry of plain values, None where there is none."""
    if isinstance(part, int):
        return values[part] if isinstance(values, list | tuple) and part < len(values) else None
    return values.get(part) if isinstance(values, dict) else None


def sections_at(location: Location, values: Any, narrow: bool = True) -> list[type[BaseModel]]:
    """Sections that may stand at a location of `values`: one, or all kinds of a union whose kind is not known."""
    sections: list[type[BaseModel]] = [Recipe]
    for part in location:
        values = part_of(values, part)
        if isinstance(part, int):
            continue
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        sections = sections_in(fields[0].annotation) if fields else []
        discriminator = fields[0].discriminator if fields else None
        if narrow and isinstance(discriminator, str):
            kind = part_of(values, discriminator)
            sections = [s for s in sections if kind in kind_names(s, discriminator)] or sections
    return sections


def field_at(location: Location, values: Any) -> FieldInfo | None:
    """Field of the schema at a location; None where the schema has none, or the kind is not known."""
    sections = sections_at(location[:-1], values)
    return sections[0].model_fields.get(str(location[-1])) if len(sections) == 1 else None


def names_at(location: Location, values: Any) -> list[str]:
    """Names of the keys that may stand in the section at a location."""
    sections = sections_at(location, values)
    if sections:
        return list(dict.fromkeys(name for section in sections for name in section.model_fields))
    field = field_at(location, values) if location else None
    return mapping_keys(field.annotation) if field else []


def known_keys(section: type[BaseModel] = Recipe, prefix: Location = ()) -> list[Location]:
    """Locations of all keys of the schema; 0 stands for any item of a list."""
    found: list[Location] = []
    for name, field in section.model_fields.items():
        here: Location = (*prefix, name)
        found.append(here)
        found += [(*here, key) for key in mapping_keys(field.annotation)]
        inside: Location = (*here, 0) if get_origin(field.annotation) is tuple else here
        for part in sections_in(field.annotation):
            found += known_keys(part, inside)
    return list(dict.fromkeys(found))


def meant_by(location: Location, values: Any) -> Meant:
    """What an unknown key at a location was probably meant to be."""
    parent, name = location[:-1], str(location[-1])
    siblings = names_at(parent, values)
    kinds = _kinds_with(parent, name, values)
    if kinds:
        discriminator = UNIONS[str(parent[0])]
        kind = part_of(part_of(values, str(parent[0])), discriminator)
        return Meant(f"unknown key for {discriminator} {kind}, it belongs to {' and '.join(kinds)}", None)
    near = _nearest(parent, name, siblings, values)
    if near:
        return Meant(f"unknown key, did you mean {near}?", near)
    return Meant(f"unknown key, the keys of {dotted(parent) or 'a recipe'} are {', '.join(siblings)}", None)


def _kinds_with(parent: Location, name: str, values: Any) -> list[str]:
    """Other kinds of the union at `parent` that have the key `name`."""
    if len(parent) != 1 or parent[0] not in UNIONS:
        return []
    discriminator = UNIONS[str(parent[0])]
    others = [s for s in sections_at(parent, values, narrow=False) if s not in sections_at(parent, values)]
    return [kind_names(section, discriminator)[0] for section in others if name in section.model_fields]


def _nearest(parent: Location, name: str, siblings: Sequence[str], values: Any) -> str | None:
    """The key whose last name is most like `name`: of the same section if any is near, else of another."""
    ranked = [(likeness(name, sibling), dotted((*parent, sibling))) for sibling in siblings]
    best = max(ranked, key=lambda entry: entry[0], default=(0.0, ""))
    if best[0] >= STRANGER_LIKENESS:
        return best[1]
    top = parent[:1]
    strangers = [
        (likeness(name, str(key[-1])), key[: len(top)] == top, dotted(key))
        for key in known_keys()
        if key[0] not in UNIONS or key[1:2] == () or key[1] in names_at(key[:1], values)  # not of another kind
    ]
    stranger = max(strangers, key=lambda entry: entry[:2])
    if stranger[0] >= STRANGER_LIKENESS:
        return stranger[2]
    return best[1] if best[0] >= SIBLING_LIKENESS else None


def likeness(one: str, other: str) -> float:
    """How alike two names are, 0 to 1."""
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def nearest_choice(value: object, choices: Sequence[str]) -> str | None:
    """The choice most like a value, if any is near."""
    ranked = [(likeness(str(value), choice), choice) for choice in choices]
    best = max(ranked, key=lambda entry: entry[0], default=(0.0, ""))
    return best[1] if best[0] >= SIBLING_LIKENESS else None


def literal_choices(annotation: object) -> list[str]:
    """Values of a Literal, wherever it stands in an annotation."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for part in get_args(annotation) for choice in literal_choices(part)]
