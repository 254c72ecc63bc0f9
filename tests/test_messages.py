"""Every error that a user can get says where and what to do next, in epicsub's own words.

All places that raise an `EpicsubError` are walked in the source, with all texts that each may have (`message_texts`). A
message names its place by a value that is put into it (path, key, id) or by an option, and ends in what is expected,
what else there is, or what to do.
"""

import ast
import re

import pytest

from tests import message_texts
from tests.message_source import PACKAGE, Package
from tests.message_texts import ADVISED, OTHER, OURS, Reading, Site

WHERE = re.compile(r"\{\}|--\w|\$[A-Z]|`epicsub|[a-z]+\.[a-z_]+\b|[a-z]+_[a-z]+")
STEP = re.compile(
    r"\b(add|ask|call|check|choose|close|compute|copy|correct|delete|download|extract|fetch|free|get|give|install|keep|leave|"
    r"list|load|look|lower|make|mend|move|multiply|name|open|pass|pick|predict|put|raise|record|remove|rename|repair|restore|"
    r"run|save|say|see|set|shorten|start|state|submit|take|tell|train|try|unpack|use|validate|wait|write)\b|`epicsub|`timm|"
    r"expected|must|\bneeds?\b|did you mean|known|there (?:is|are)|there:|such as|it has|holds|instead|in place of|"
    r"at most|at least|only|allowed|takes",
    re.IGNORECASE,
)
SWITCHES = re.compile(
    r"weights_only=False|allow_pickle=True|trust_remote_code|add_safe_globals|--no-verify|verify=False"
)

# Without a place of their own: who calls these puts the file before what they say.
PLACED_BY_CALLERS = {
    "data/boxes/official.py": "`convert` puts the file before it, `parse_frames` the number of the message",
    "data/boxes/detections.py": "`convert` puts the file before it",
    "data/boxes/convert.py:_placed": "`convert` puts the file before it",
    "unpickle/__init__.py:load_torch": "has no path where it reads what another file holds, whose reader puts it there",
}
PLACED_BY_CALLERS |= {
    f"live/{name}.py": "is shown on the page that sent it" for name in ("server", "uploads", "window")
}
# Not decided here.
UNDECIDED = {
    "data/loader.py:__iter__": "passes on, from the process of a worker, another of our errors",
    "training/together.py:name_the_lost": "passes on, from another process, another of our errors",
    "inference/cache.py:find_predictions": "is caught there, and logged with the path",
}
# Lines that are parts of one message, whose last says what to do.
PARTS = {
    ": no boxes for": "`missing_files` adds to the last line how they are made",
    ": no {} for": "`missing_files` adds to the last line how the modality is made",
    "{error}": "what a recipe's validator says; see test_validators_say_what_is_expected",
}


@pytest.fixture(scope="module")
def sites() -> list[Site]:
    return list(message_texts.sites(Package()))


def named(site: Site, reasons: dict[str, str]) -> bool:
    return any(site.function == name or site.function.startswith(f"{name}:") for name in reasons)


def test_every_error_says_where_and_what_next(sites: list[Site]) -> None:
    assert len(sites) > 350
    without_place, without_step = [], []
    for site in sites:
        assert site.texts, site.place
        for text in site.texts if not named(site, UNDECIDED) else ():
            if OTHER in text or any(part in text for part in PARTS):
                continue
            if not WHERE.search(text) and not named(site, PLACED_BY_CALLERS):
                without_place.append(f"{site.place}  {text[:110]}")
            if not STEP.search(text.replace(ADVISED, "take")):
                without_step.append(f"{site.place}  {text[:110]}")
    assert not without_place, "\n".join(without_place)
    assert not without_step, "\n".join(without_step)


def test_exceptions_are_of_places_that_are_there(sites: list[Site]) -> None:
    for name in (*PLACED_BY_CALLERS, *UNDECIDED):
        assert any(named(site, {name: ""}) for site in sites), name
    for part in PARTS:
        assert any(part in text for site in sites for text in site.texts), part


def test_validators_say_what_is_expected() -> None:
    found = 0
    for path in sorted((PACKAGE / "recipe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and ast.unparse(node).startswith("raise ValueError("):
                found += 1
                assert STEP.search(ast.unparse(node)), ast.unparse(node)
    assert found


def test_the_walk_finds_what_is_wrong(tmp_path) -> None:
    """Texts are put together through variables, helpers, lists and both sides of a condition."""
    (tmp_path / "a.py").write_text(
        "ADVICE = 'fetch it again'\n"
        "def refuse(path, why):\n    raise DataError(f'{path}: {why}; {ADVICE}')\n"
        "def use(path, odd):\n    refuse(path, 'is odd' if odd else 'is even')\n"
        "def many(names):\n    problems = [f'{name}: bad' for name in names]\n    problems.append('ends too early')\n"
        "    if problems:\n        raise DataError('\\n'.join(problems))\n"
        "def again(path):\n    try:\n        use(path, 1)\n    except DataError as error:\n"
        "        raise DataError(f'clip {path}: {error}') from None\n"
    )
    package = Package(tmp_path)
    (module,) = package.modules
    raised = [node.exc for node in ast.walk(module.tree) if isinstance(node, ast.Raise)]
    texts = [Reading(package).error(module, node) for node in sorted(raised, key=lambda node: node.lineno)]
    assert texts == [
        {"{}: is odd; fetch it again", "{}: is even; fetch it again"},
        {"{}: bad", "ends too early"},
        {f"clip {{}}: {OTHER}"},
    ]


def test_no_message_is_a_library_s_sentence() -> None:
    """What a library raised is told in our words, in lists of problems too; of the system's errors the reason alone."""
    passed_on = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(handler, ast.ExceptHandler) and handler.name and not _is_ours(handler.type):
                told = [node.value for node in ast.walk(handler) if isinstance(node, ast.FormattedValue)]
                told += [value for node in ast.walk(handler) if isinstance(node, ast.BoolOp) for value in node.values]
                if any(isinstance(value, ast.Name) and value.id == handler.name for value in told):
                    passed_on.append(f"{path.relative_to(PACKAGE)}:{handler.lineno}")
    assert not passed_on, "\n".join(passed_on)


def _is_ours(kind: ast.expr | None) -> bool:
    names = {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)} if kind else set()
    return bool(names) and names <= OURS | {"ForeignObjectError"}  # whose message is the name that was found


def test_no_message_advises_to_switch_a_safety_off() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SWITCHES.search(node.value):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert not found
