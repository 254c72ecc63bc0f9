"""A protocol: which lists of segments are scored and sent, how long they are, and which labels may be read for what.

A file holds one protocol, or several parts that share most keys (`parts:`); `mmsada.yaml:D2` names a part.
"""

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails

from epicsub.constants import NUM_VERBS
from epicsub.errors import ValidationError
from epicsub.io import find_shipped
from epicsub.io.files import read_text
from epicsub.recipe.check import ALLOWED
from epicsub.recipe.yaml_tree import format_value, read_yaml

Task = Literal["verb", "noun", "action"]
TASKS: tuple[Task, ...] = ("verb", "noun", "action")
DEFAULT_PROTOCOL = "ek100"
RECORDS = Path("validation/runs")
"""Where figures are recorded, unless the protocol is a file of the user's own: in runs/ beside it."""
_PACKAGE = Path(__file__).resolve().parents[1]
"""an installed package has its protocols inside, and nothing is written there"""

log = logging.getLogger(__name__)


class SegmentList(BaseModel):
    """A table of segments and the number that it must have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    list: str = Field(min_length=1)
    """file name under annotations/"""
    count: int = Field(gt=0)
    """segments; another length stops, unless the user states it"""


class HeldOut(BaseModel):
    """How `epicsub data lists` makes a protocol's lists: whole videos of a labelled list are held out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: SegmentList
    """the labelled list that is parted"""
    videos: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    """names of videos, `?` for one character, `*` for any; what fits goes to the protocol's validation list"""
    training: SegmentList
    """the rest"""


class Converted(BaseModel):
    """How `epicsub data lists` makes a protocol's lists: tables of MM-SADA, pickled by their authors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    files: dict[str, SegmentList] = Field(min_length=1)
    """pickle -> the list made of it"""
    verbs: Annotated[tuple[int, ...], Field(strict=False, min_length=1)]
    """EK100's id of the pickle's verb class 0, 1, ..."""


class Protocol(BaseModel):
    """What a score or a submission refers to. Every file name is looked up under annotations/."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1)
    training_list: str
    """the labelled list whose class frequencies `--fill prior` takes and scores by frequency refer to"""
    target_list: str | None = None
    """the list whose clips adaptation may see, never its labels; null: none is set apart for that"""
    validation: SegmentList
    """the labelled list that is scored"""
    test: SegmentList
    """the list that is predicted and sent"""
    challenge: Literal["action_recognition", "domain_adaptation"] = "action_recognition"
    """what test.json says that it is for; in domain_adaptation its scores stand under results_target"""
    tail_verbs: str | None = None
    """column `verb`: the rare verb classes; null: no such scores"""
    tail_nouns: str | None = None
    """column `noun`: the rare noun classes; null: no such scores"""
    unseen_validation: str | None = None
    """column `participant_id`: kitchens of the validation list without training videos; null: no such scores"""
    tasks: Annotated[tuple[Task, ...], Field(strict=False, min_length=1)] = TASKS
    """what the lists have labels for"""
    verbs: Annotated[tuple[Annotated[int, Field(ge=0, lt=NUM_VERBS)], ...], Field(strict=False)] | None = None
    """the only verb classes that are ranked; null: all 97"""
    selection_lists: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """lists whose labels the choice of a checkpoint or a setting may read"""
    selection: str = Field(min_length=1)
    """the same in words, with the reason"""
    held_out: HeldOut | None = None
    converted: Converted | None = None
    published: dict[str, float] = {}
    """top-1 that others report under this protocol, in percent, by method"""
    published_remark: str | None = None
    """what these figures are, for whoever reads them beside ours"""

    def may_select(self, segment_list: str) -> bool:
        """Whether a checkpoint or a setting may be chosen by the labels of a list.

        Args:
            segment_list: file name of the list.

        Returns:
            As the protocol says.
        """
        return segment_list in self.selection_lists


def load_protocol(name: str | Path) -> Protocol:
    """Read a protocol.

    Args:
        name: path of a file or name of one that comes with epicsub (`ek100`); `FILE:PART` where it has parts.

    Returns:
        The protocol.

    Raises:
        ValidationError: no such file or part, no YAML mapping, unknown or missing keys or wrong values; all at once.
    """
    file, part = _file_and_part(Path(name))
    protocols = load_parts(file)
    if part in protocols:
        return protocols[part]
    if part is None:
        named = ", ".join(f"{file}:{name}" for name in protocols)
        raise ValidationError(f"{file}: this protocol has parts; name one of {named}")
    parts = ", ".join(str(name) for name in protocols if name is not None)
    raise ValidationError(f"{file}: no part {part!r}; it has {parts or 'no parts at all'}")


class FoundProtocol(NamedTuple):
    """A protocol, and how it was named."""

    name: str
    """as given: a path, or the name of one that comes with epicsub"""
    protocol: Protocol

    @property
    def records(self) -> Path:
        """Folder in which figures under this protocol are recorded."""
        file, _ = _file_and_part(Path(self.name))
        own = file.is_file() and not file.resolve().is_relative_to(_PACKAGE)
        return file.parent / "runs" if own else RECORDS


def find_protocol(name: str | Path | None, default: str | Path | None = None) -> FoundProtocol:
    """Read the protocol that is named, and log where it was found if not at the path that was given.

    Args:
        name: as `load_protocol` takes it.
        default: taken where no name is given; without it the official protocol is.

    Returns:
        The protocol and its name.

    Raises:
        ValidationError: as `load_protocol`.
    """
    chosen = str(name or default or DEFAULT_PROTOCOL)
    found = FoundProtocol(chosen, load_protocol(chosen))
    given, _ = _file_and_part(Path(chosen))
    if (file := find_shipped("validation", given)) != given:
        log.info("protocol %s: %s", chosen, file)
    return found


def load_parts(path: str | Path) -> dict[str | None, Protocol]:
    """Read every part of a protocol's file.

    Args:
        path: of the file, or the name of one that comes with epicsub.

    Returns:
        Protocols by the part's name; under None where the file has no parts.

    Raises:
        ValidationError: as `load_protocol`.
    """
    path = find_shipped("validation", Path(path))
    content = _read_mapping(path)
    if "parts" not in content:
        return {None: _protocol(path, content)}
    parts = content.pop("parts")
    if not isinstance(parts, dict) or not parts or not all(isinstance(keys, dict) for keys in parts.values()):
        raise ValidationError(f"{path}: parts is a mapping from a part's name to the keys of its own")
    return {
        str(name): _protocol(path, content | keys | {"name": f"{content.get('name')}:{name}"})
        for name, keys in parts.items()
    }


def _file_and_part(path: Path) -> tuple[Path, str | None]:
    file, colon, part = path.name.rpartition(":")
    return (path, None) if path.is_file() or not colon else (path.with_name(file), part)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in path.parent.glob("*.yaml"))) or "none"
        raise ValidationError(f"{path}: no such protocol; {path.parent} holds: {others}")
    text = read_text(path, ValidationError)
    tree = read_yaml(text)
    if tree.problems:
        raise ValidationError(
            "\n".join(f"{path}:{problem.line or 1}  {problem.key}: {problem.text}" for problem in tree.problems)
        )
    content = tree.values
    if not isinstance(content, dict):
        raise ValidationError(f"{path}: a protocol must be a mapping with the keys {', '.join(Protocol.model_fields)}")
    return content


def _protocol(path: Path, content: Mapping[str, Any]) -> Protocol:
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
                yield f"{key}: missing, it must be given"
            case _:
                yield f"{key}: is {format_value(problem['input'])}, {_allowed(problem)}"


def _allowed(problem: ErrorDetails) -> str:
    """What is allowed there, in the words that recipes use too."""
    words = {"choices": problem.get("ctx", {}).get("expected", ""), "keys": ", ".join(_fields_at(problem["loc"]))}
    return ALLOWED.get(problem["type"], "must be another value").format(**(problem.get("ctx", {}) | words))


def _nearest(place: tuple[Any, ...]) -> str:
    fields = _fields_at(place[:-1])
    near = get_close_matches(str(place[-1]), fields, n=1, cutoff=0.5)
    prefix = ".".join(str(part) for part in place[:-1])
    return f"did you mean {'.'.join(filter(None, (prefix, near[0])))}?" if near else f"known are {', '.join(fields)}"


def _fields_at(place: tuple[Any, ...]) -> list[str]:
    inner: dict[tuple[Any, ...], type[BaseModel]] = {(): Protocol, ("held_out",): HeldOut, ("converted",): Converted}
    return list(inner.get(place, SegmentList).model_fields)
