"""A protocol: which lists of segments are scored and sent, how long they are, and which labels may be read for what."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from epicsub.errors import ValidationError


class SegmentList(BaseModel):
    """A table of segments and the number that it must have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    list: str = Field(min_length=1)
    """file name under annotations/"""
    count: int = Field(gt=0)
    """segments; another length stops, unless the user states it"""


class Protocol(BaseModel):
    """What a score or a submission refers to. Every file name is looked up under annotations/."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    training_list: str
    """the labelled list whose class frequencies `--fill prior` takes"""
    validation: SegmentList
    """the labelled list that is scored"""
    test: SegmentList
    """the list that is predicted and sent"""
    tail_verbs: str
    """column `verb`: the rare verb classes"""
    tail_nouns: str
    """column `noun`: the rare noun classes"""
    unseen_validation: str
    """column `participant_id`: kitchens of the validation list without training videos"""
    selection: str = Field(min_length=1)
    """in words: which labels the choice of a checkpoint or a setting may read"""


def load_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Raises:
        ValidationError: no such file, no YAML mapping, unknown or missing keys or wrong values; all at once, by key.
    """
    path = Path(path)
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in path.parent.glob("*.yaml"))) or "none"
        raise ValidationError(f"{path}: no such protocol; {path.parent} holds: {others}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValidationError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValidationError(f"{path}: a protocol is a mapping with the keys {', '.join(Protocol.model_fields)}")
    try:
        return Protocol.model_validate(content)
    except pydantic.ValidationError as error:
        raise ValidationError("\n".join(f"{path}: {line}" for line in _problems(error))) from error


def _problems(error: pydantic.ValidationError) -> Iterator[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        match problem["type"]:
            case "extra_forbidden":
                yield f"{key}: unknown key, {_nearest(problem['loc'])}"
            case "missing":
                yield f"{key}: missing"
            case _:
                yield f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}, got {problem['input']!r}"


def _nearest(place: tuple[Any, ...]) -> str:
    fields = SegmentList.model_fields if len(place) > 1 else Protocol.model_fields
    near = get_close_matches(str(place[-1]), fields, n=1, cutoff=0.5)
    prefix = ".".join(str(part) for part in place[:-1])
    return f"did you mean {'.'.join(filter(None, (prefix, near[0])))}?" if near else f"known are {', '.join(fields)}"
