"""YAML text -> plain values and the line of each key. Reads YAML 1.2's plain values, with PyYAML's parser.

PyYAML follows YAML 1.1, where `1e-2` is text, `on` is a boolean, `010` is eight and `1:30` is ninety. Here `1e-2` is a
number, only `true` and `false` are booleans, and what is left is text. Aliases and merge keys are refused: a recipe is
flat, and every value stands where it is used.
"""

import re
from typing import Any, NamedTuple, NoReturn, cast

import yaml
from pydantic import BaseModel

DEEPEST = 50
"""Sections and lists in each other; a recipe has four."""
MOST_DIGITS = 18
"""Of a whole number: what 64 bits hold."""
MOST_KEYS, MOST_CHARACTERS = 3000, 1_000_000


class Problem(NamedTuple):
    """One thing that is wrong with a recipe."""

    key: str
    """Dotted key, e.g. train.stages.0.steps."""
    text: str
    """What is wrong with it, and what would be right."""
    line: int | None = None
    """Line in the file; None for that of the key, or of the nearest part around it."""


class Tree(NamedTuple):
    """Content of a YAML text."""

    values: Any
    """Plain dicts, lists and scalars."""
    lines: dict[str, int]
    """Line of each dotted key, from 1; "" is the whole."""
    problems: list[Problem]
    """Syntax errors, keys written twice, tags that are not plain values."""


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with the plain values of YAML 1.2, without aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own name

    depth = keys = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._refuse(f"alias *{cast(Any, self).peek_event().anchor} is not read, write the value out")
        self.depth += 1
        if self.depth > DEEPEST:
            self._refuse(f"sections and lists lie in each other more than {DEEPEST} deep; name another file")
        self.keys += index is not None  # keys themselves have none
        if self.keys > MOST_KEYS:  # before all of a large file has been read, which takes minutes
            self._refuse(f"more than {MOST_KEYS} keys and items, as no recipe or protocol has; name another file")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refuse(self, text: str) -> NoReturn:
        mark = cast(Any, self).peek_event().start_mark  # untyped in PyYAML
        raise _RefusedError(Problem("YAML", f"{text} (column {mark.column + 1})", mark.line + 1))


class _RefusedError(Exception):
    """What the loader refuses by itself."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


_SYNTAX = {
    "']'": "a list in brackets breaks off or lacks a comma: write [a, b]",
    "'}'": "a section in braces breaks off or lacks a comma: write {a: 1, b: 2}",
    "cannot start any token": "a character that cannot begin a value: put quotes around it, or indent by blanks",
    "mapping values are": "a colon where none may stand: put quotes around the value, or indent as the lines above",
    "could not find expected ':'": "a key without a colon: write KEY: VALUE",
    "expected <block end>": "indented unlike the lines above: give all keys of a section the same blanks",
    "quoted scalar": "a quote that is not closed: close it",
    "another document": "another document begins: keep one in a file",
    "": "cannot be read as YAML from here on: look at quotes, brackets and the blanks at the beginning of lines",
}
"""What to do about a syntax error, by what PyYAML says, in tokens of its own."""
_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), list(_first))


def read_yaml(text: str) -> Tree:
    """Read one YAML document.

    Args:
        text: The document.

    Returns:
        Its values, lines and problems. After a syntax error `values` is None; other problems leave what could be read.
    """
    lines: dict[str, int] = {}
    problems: list[Problem] = []
    if len(text) > MOST_CHARACTERS:
        said = f"has {len(text)} characters, a recipe or protocol has {MOST_CHARACTERS} at most; name another file"
        return Tree(None, {"": 1}, [Problem("YAML", said)])
    try:
        root = yaml.compose(text, Loader=_Loader)
    except _RefusedError as refused:
        return Tree(None, {"": 1}, [refused.problem])
    except yaml.YAMLError as error:
        return Tree(None, {"": 1}, [_syntax_problem(error, text)])
    if root is None:
        return Tree(None, {"": 1}, [])
    values = _values(root, "", lines, problems)
    return Tree(values, lines, problems)


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark or error.context_mark) is not None:
        said, start = f"{error.problem} {error.context}", error.context_mark
        words = next(advice for sign, advice in _SYNTAX.items() if sign in said)
        began = f"; it begins on line {start.line + 1}" if start and start.line != mark.line else ""
        return Problem("YAML", f"{words} (column {mark.column + 1}{began})", mark.line + 1)
    position = getattr(error, "position", 0)  # a character that YAML does not allow
    found = f"character {text[position]!r}" if position < len(text) else "byte"
    return Problem("YAML", f"a {found} that YAML does not allow; take it out", text.count("\n", 0, position) + 1)


def _values(node: yaml.Node, key: str, lines: dict[str, int], problems: list[Problem]) -> Any:
    """Plain values of a node; adds the lines and problems of all keys below it."""
    lines.setdefault(key, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_values(item, subkey(key, index), lines, problems) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, key, problems)
    values: dict[str, Any] = {}
    for name_node, value_node in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            problems.append(Problem(key or "YAML", "has a key that is a list or a section, keys are names", line))
            continue
        name = name_node.value
        child = subkey(key, name)
        if name in values:
            problems.append(Problem(child, f"written twice, first on line {lines[child]}, keep one", line))
            continue
        lines[child] = line
        values[name] = _values(value_node, child, lines, problems)
    return values


def _scalar(node: yaml.Node, key: str, problems: list[Problem]) -> Any:
    text = str(node.value)
    match node.tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "bool" if text.lower() in ("true", "false"):
            return text.lower() == "true"
        case "int" if re.fullmatch(rf"[-+]?[0-9]{{1,{MOST_DIGITS}}}", text):
            return int(text)
        case "float" if re.fullmatch(_FLOAT, text):
            # float() knows `inf` and `nan`, YAML writes them with a dot in front
            return float(re.sub(r"\.(?=[iInN])", "", text))
    line = node.start_mark.line + 1
    problem = f"tag {node.tag!r} is not read, write a plain value"
    if re.fullmatch("[-+]?[0-9]+", text):
        problem = f"is a number of {len(text)} digits, {MOST_DIGITS} are read at most"
    problems.append(Problem(key or "YAML", problem, line))
    return None


def subkey(key: str, part: str | int) -> str:
    """Append a part to a dotted key.

    Args:
        key: The dotted key, empty for the root.
        part: A key or an index.

    Returns:
        The dotted key of the part.
    """
    return f"{key}.{part}" if key else str(part)


def format_value(value: object) -> str:
    """Format a value for a message.

    Args:
        value: Plain value, section or tuple.

    Returns:
        Its YAML, text in quotes, at most 60 characters.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, tuple):
        value = list(value)
    try:
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False)
    except yaml.YAMLError:  # an object that YAML has no words for, from a checkpoint
        text = repr(value)
    text = repr(value) if isinstance(value, str) else text.removesuffix("\n").removesuffix("\n...")
    return text if len(text) <= 60 else f"{text[:57]}..."
