"""Every error that a user can get says where and what to do next, in epicsub's own words.

All places that raise an `EpicsubError` are walked in the source. A message names its place by a value that is put into
it (path, key, id) or by an option, and ends in what is expected, what else there is, or what to do.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from epicsub import errors

PACKAGE = Path(errors.__file__).parent
OURS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.EpicsubError)}
# `failure` is the argument by which a reader is told which of them to raise.
RAISED = OURS | {"failure"}
WHERE = re.compile(r"--\w|\$[A-Z]|`epicsub|[a-z]+\.[a-z_]+\b|[a-z]+_[a-z]+")
STEP = re.compile(
    r"\b(add|ask|call|choose|close|compute|copy|correct|delete|download|fetch|free|get|give|install|leave|list|look|"
    r"lower|make|mend|multiply|name|open|pass|pick|predict|put|raise|record|remove|rename|repair|restore|run|save|see|set|"
    r"shorten|start|state|take|train|try|unpack|use|validate|wait|write)\b|`epicsub|`timm|expected|must|"
    r"\bneeds?\b|did you mean|known|there (?:is|are)|there:|such as|it has|holds|instead|in place of|"
    r"at most|at least|only|allowed|takes",
    re.IGNORECASE,
)
SWITCHES = re.compile(
    r"weights_only=False|allow_pickle=True|trust_remote_code|add_safe_globals|--no-verify|verify=False"
)
FINE = {"strerror", "errno", "start", "lineno", "colno", "code", "__name__"}  # facts of an error, not its sentence


class Site(NamedTuple):
    """A place that raises one of our errors."""

    place: str
    text: str
    """the words that stand in the source; {} for each value put in"""
    open: bool
    """part of the message was put together before"""


def sites() -> Iterator[Site]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                called = node.exc.func
                name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
                if name in RAISED and node.exc.args:
                    text, is_open = words(node.exc.args[0])
                    yield Site(f"{path.relative_to(PACKAGE)}:{node.lineno}", text, is_open)


def words(node: ast.expr) -> tuple[str, bool]:
    """Words of a message, and whether a part of it was put together elsewhere."""
    match node:
        case ast.Constant(value=str(text)):
            return text, False
        case ast.JoinedStr(values=parts):
            found = [words(part) if isinstance(part, ast.Constant) else ("{}", _whole(part)) for part in parts]
            return "".join(text for text, _ in found), any(is_open for _, is_open in found)
        case ast.BinOp(left=left, right=right):
            (one, first), (two, second) = words(left), words(right)
            return one + two, first or second
        case ast.IfExp(body=body):
            return words(body)
        case ast.Call(func=ast.Attribute(value=inner)) if isinstance(inner, ast.JoinedStr):
            return words(inner)
    return "{}", True


def _whole(part: ast.expr) -> bool:
    """Whether a value that is put in is a sentence of its own: the advice, the problem, another of our errors."""
    names = {node.id for node in ast.walk(part) if isinstance(node, ast.Name)}
    calls = {getattr(n.func, "id", getattr(n.func, "attr", "")) for n in ast.walk(part) if isinstance(n, ast.Call)}
    return bool(
        names
        & {
            "ADVICE",
            "advice",
            "hint",
            "error",
            "problem",
            "problems",
            "AGAIN",
            "says",
            "text",
            "reason",
            "GRAMMAR",
            "expected",
        }
    ) or any(call in ("why_unreadable", "os_reason", "lacks", "join", "_nearby", "hint") for call in calls)


def test_every_error_says_where_and_what_next() -> None:
    found = [site for site in sites() if not site.place.startswith("inference/cache.py")]  # raised and caught there
    assert len(found) > 200
    without_place = [
        f"{s.place}  {s.text[:90]}" for s in found if not s.open and "{}" not in s.text and not WHERE.search(s.text)
    ]
    without_step = [f"{s.place}  {s.text[:110]}" for s in found if not s.open and not STEP.search(s.text)]
    assert not without_place, "\n".join(without_place)
    assert not without_step, "\n".join(without_step)


def test_no_message_is_a_library_s_sentence() -> None:
    """What a library raised is told in our words; of an error of the system its reason alone (`strerror`)."""
    passed_on = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(handler, ast.ExceptHandler) or handler.name is None or _is_ours(handler.type):
                continue
            for raised in ast.walk(handler):
                if not isinstance(raised, ast.Raise) or not isinstance(raised.exc, ast.Call):
                    continue
                for value in ast.walk(raised.exc):
                    told = isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name)
                    if told and value.value.id == handler.name:
                        passed_on.append(f"{path.relative_to(PACKAGE)}:{raised.lineno}")
    assert not passed_on, "\n".join(passed_on)


def _is_ours(kind: ast.expr | None) -> bool:
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)} if kind else set()
    return bool(names) and names <= OURS


def test_no_message_advises_to_switch_a_safety_off() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SWITCHES.search(node.value):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not found
