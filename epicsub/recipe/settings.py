"""A recipe's values by dotted key, as the relations between them read them."""

from typing import Any

from pydantic import BaseModel

from epicsub.recipe.keys import Location, field_at, part_of


class NotUsableError(Exception):
    """A setting that a relation needs has a problem of its own."""


class Settings:
    """Values of a recipe by dotted key, schema defaults filled in; refuses those that have a problem of their own."""

    def __init__(self, values: dict[str, Any], bad: set[str]) -> None:
        self._values = values
        self._bad = bad

    def __getitem__(self, key: str) -> Any:
        if any(self._overlap(key, bad) for bad in self._bad):
            raise NotUsableError(key)
        location: Location = tuple(int(part) if part.isdigit() else part for part in key.split("."))
        parent: Any = self._values
        for depth, part in enumerate(location[:-1], 1):
            parent = part_of(parent, part)
            if parent is None:
                field = field_at(location[:depth], self._values)
                if field is None or not isinstance(field.default, BaseModel):
                    raise NotUsableError(key)
                parent = {}  # a section that is left out has its defaults
        if location[-1] in parent or isinstance(location[-1], int):
            return part_of(parent, location[-1])
        field = field_at(location, self._values)
        if field is None or field.is_required():
            raise NotUsableError(key)
        return field.default

    def stages(self) -> range:
        """Numbers of the stages, whatever is wrong inside them."""
        stages = part_of(part_of(self._values, "train"), "stages")
        return range(len(stages) if isinstance(stages, list | tuple) else 0)

    @staticmethod
    def _overlap(key: str, bad: str) -> bool:
        return key == bad or key.startswith(f"{bad}.") or bad.startswith(f"{key}.")
