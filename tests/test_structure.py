"""Packages import in reading order: from those above, never from those below."""

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from epicsub.cli import main

ORDER = [
    "errors", "constants", "modality", "slots", "text", "io", "unpickle", "progress", "predictions",
    "models.table", "models.maps", "recipe", "data", "synth", "models", "adaptation", "pretext", "training",
    "hub", "inference", "validation", "submission", "api", "live", "studies", "cli",
]  # fmt: skip
PACKAGE = Path(__file__).parent.parent / "epicsub"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ORDER)


def package_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts) if ".".join(parts) in ORDER else parts[0]


def imported_modules(source: str) -> list[str]:
    """Dotted names of everything a module imports, inside functions too."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide which package is meant"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_from_those_above(path: Path) -> None:
    own = ORDER.index(package_of(path))
    for name in imported_modules(path.read_text()):
        parts = name.split(".")
        if parts[0] == "epicsub" and len(parts) > 1 and parts[1] in ORDER:
            package = ".".join(parts[1:3]) if ".".join(parts[1:3]) in ORDER else parts[1]
            assert ORDER.index(package) <= own, f"{path.name} imports {name}, which is below {package_of(path)}"


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("recipe", {"torch", "epicsub.data"}),
        ("validation", {"torch"}),
        ("data", {"epicsub.recipe", "epicsub.models"}),
        ("models", {"epicsub.recipe", "epicsub.data"}),
        ("adaptation", {"epicsub.data", "torch.optim", "torch.utils.data"}),
        ("pretext", {"epicsub.data", "epicsub.recipe", "torch.utils.data"}),
    ],
)
def test_what_a_package_must_not_import(package: str, forbidden: set[str]) -> None:
    for path in (PACKAGE / package).rglob("*.py"):
        for name in imported_modules(path.read_text()):
            assert not any(name == word or name.startswith(word + ".") for word in forbidden), f"{path}: {name}"


def test_files_stay_readable() -> None:
    long = {str(path): n for path in PACKAGE.rglob("*.py") if (n := len(path.read_text().splitlines())) > 320}
    assert not long


def test_help_lines_are_the_first_lines_of_docstrings() -> None:
    tables = {"": main.COMMANDS} | {group: names for group, (names, _) in main.GROUPS.items()}
    for group, names in tables.items():
        for name in names:
            command = main.LazyCommand(name, group)
            docstring = getattr(import_module(f"epicsub.cli.{command.file}"), name).__doc__
            assert command.help == docstring.strip().splitlines()[0]


def test_the_wheel_holds_every_package_recipe_and_protocol() -> None:
    setuptools = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {".".join(path.parent.relative_to(PACKAGE.parent).parts) for path in PACKAGE.rglob("*.py")}
    shipped = {"epicsub.shipped.recipes": "recipes", "epicsub.shipped.validation": "validation"}
    assert folders | shipped.keys() == set(setuptools["packages"]), "packages of pyproject.toml are not epicsub's"
    assert setuptools["package-dir"] == shipped
    for package, folder in shipped.items():
        held = {path for glob in setuptools["package-data"][package] for path in (PACKAGE.parent / folder).glob(glob)}
        assert held == set((PACKAGE.parent / folder).rglob("*.yaml"))


FUNCTION_IMPORTS = 40
"""at most so many imports inside functions, each with its reason in a comment on its line or the one above"""


def function_imports(path: Path) -> Iterator[tuple[int, bool]]:
    """Line of every import inside a function, and whether a comment says why it stands there."""
    source = path.read_text()
    lines = source.splitlines()
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    found = {n for node in functions for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)}
    previous_ended, previous_explained = 0, False
    for node in sorted(found, key=lambda node: node.lineno):
        explained = "#" in lines[node.lineno - 1] or lines[node.lineno - 2].lstrip().startswith("#")
        if node.lineno == previous_ended + 1:  # one comment explains a block
            explained |= previous_explained
        previous_ended, previous_explained = node.end_lineno or node.lineno, explained
        yield node.lineno, explained


def test_imports_inside_functions_are_few_and_explained() -> None:
    found = [(path, *where) for path in PACKAGE.rglob("*.py") for where in function_imports(path)]
    bare = [f"{path.relative_to(PACKAGE)}:{line}" for path, line, explained in found if not explained]
    assert not bare, "a comment says why an import stands inside a function"
    assert len(found) <= FUNCTION_IMPORTS


def test_no_two_files_import_each_other() -> None:
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
             for path in PACKAGE.rglob("*.py")}  # fmt: skip
    edges = {
        name: {word if word in names else word.rpartition(".")[0] for word in imported_modules(path.read_text())}
        for name, path in names.items()
    }
    order: list[str] = []
    on_the_way: list[str] = []

    def visit(name: str) -> None:
        assert name not in on_the_way, f"circle: {' -> '.join([*on_the_way[on_the_way.index(name) :], name])}"
        if name in order or name not in names:
            return
        on_the_way.append(name)
        for other in sorted(edges[name] - {name}):
            visit(other)
        order.append(on_the_way.pop())

    for name in names:
        visit(name)


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods without an underscore, theirs or their class's."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from public_functions(child)
            else:
                yield child


def lacking_sections(function: ast.FunctionDef) -> list[str]:
    """Sections of the docstring that a public function needs and lacks."""
    doc = ast.get_docstring(function) or ""
    given = function.args
    names = {a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
    returns = function.returns is not None and ast.unparse(function.returns) != "None"
    is_property = any(ast.unparse(decorator).endswith("property") for decorator in function.decorator_list)
    lacking = [] if not names or "Args:" in doc else ["Args"]
    if returns and not is_property and "Returns:" not in doc and "Yields:" not in doc:
        lacking.append("Returns")
    if "Raises:" not in doc and any(raised_in(function)):
        lacking.append("Raises")
    return lacking


def raised_in(node: ast.AST) -> Iterator[ast.Raise]:
    """What a function raises itself, but for abstract methods and what it may catch again."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise) and child.exc is not None and "NotImplementedError" not in ast.unparse(child):
            yield child
        elif isinstance(child, ast.Try):
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from raised_in(part)
        elif not isinstance(child, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield from raised_in(child)


def test_public_functions_document_arguments_returns_and_errors() -> None:
    lacking = {
        f"{path.relative_to(PACKAGE)}:{function.lineno} {function.name}": sections
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "cli"  # its commands document arguments in their options
        for function in public_functions(ast.parse(path.read_text()))
        if (sections := lacking_sections(function))
    }
    assert not lacking
