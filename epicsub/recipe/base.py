"""The base of every part of a recipe, and the kinds of number and text that they are made of."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A part of a recipe: frozen, no unknown keys, no conversion between types, no infinite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError("must be letters, digits, '.', '_' and '-', since it names the run's folder")
    return name


def _view_spec(spec: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*x[13](\+flip)?", spec):
        raise ValueError("must be CLIPSxCROPS with 1 or 3 crops, and +flip if wanted, e.g. 1x1, 5x1 or 5x3+flip")
    return spec


Name = Annotated[str, AfterValidator(_plain_name)]
ViewSpec = Annotated[str, AfterValidator(_view_spec)]
Text = Annotated[str, Field(min_length=1)]
Level = Annotated[int, Field(ge=0, le=5)]
Count = Annotated[int, Field(ge=1)]
WholeNumber = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
ShareAboveZero = Annotated[float, Field(gt=0, le=1)]

# YAML has lists where a frozen recipe has tuples: `strict=False` lets the one become the other; items stay strict.
LIST = Field(strict=False)
FILLED_LIST = Field(strict=False, min_length=1)
PAIR = Field(strict=False, min_length=2, max_length=2)
