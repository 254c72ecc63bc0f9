"""The rooms' import order is the reading order: a room imports from the rooms above it, never from those below."""

import ast
import tomllib
from pathlib import Path

import pytest

from epicsub.cli import main

ORDER = [
    "errors", "constants", "modality", "text", "io", "unpickle", "progress", "predictions",
    "models.table", "recipe", "data", "synth", "models", "adaptation", "training", "inference", "validation",
    "submission", "studies", "api", "cli",
]  # fmt: skip
PACKAGE = Path(__file__).parent.parent / "epicsub"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ORDER)


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts) if ".".join(parts) in ORDER else parts[0]


def imported_modules(source: str) -> list[str]:
    """Dotted names of everything a module imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which room is meant"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_above(path: Path) -> None:
    own = ORDER.index(room_of(path))
    for name in imported_modules(path.read_text()):
        parts = name.split(".")
        if parts[0] == "epicsub" and len(parts) > 1 and parts[1] in ORDER:
            room = ".".join(parts[1:3]) if ".".join(parts[1:3]) in ORDER else parts[1]
            assert ORDER.index(room) <= own, f"{path.name} imports {name}, which is below {room_of(path)}"


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("recipe", {"torch", "epicsub.data"}),
        ("validation", {"torch"}),
        ("data", {"epicsub.recipe", "epicsub.models"}),
        ("models", {"epicsub.recipe", "epicsub.data"}),
        ("adaptation", {"epicsub.data", "torch.optim", "torch.utils.data"}),
    ],
)
def test_what_a_room_must_not_know(room: str, forbidden: set[str]) -> None:
    for path in (PACKAGE / room).rglob("*.py"):
        for name in imported_modules(path.read_text()):
            assert not any(name == word or name.startswith(word + ".") for word in forbidden), f"{path}: {name}"


def test_files_stay_readable() -> None:
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 300}
    assert not long


def test_help_lines_are_the_first_lines_of_docstrings() -> None:
    for table in (main.COMMANDS, main.ENSEMBLE, main.DATA, main.BENCH):
        for name, (target, help_line) in table.items():
            function = main.LazyCommand(name, target, help_line).function()
            assert function.__doc__.strip().splitlines()[0] == help_line, f"{target}: put its line into cli/main.py"


def test_the_wheel_holds_every_package() -> None:
    listed = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("*.py")}
    shipped = {"epicsub.shipped.recipes", "epicsub.shipped.validation"}
    assert folders | shipped == set(listed), "packages of pyproject.toml are not those of epicsub/"
