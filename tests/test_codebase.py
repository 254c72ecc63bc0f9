"""benchmarks/codebase.py counts lines, imports inside functions and circles as its docstring defines them."""

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = '''"""A docstring."""

import os  # counted


def first():
    """Another
    one."""
    import json  # a comment

    # a comment of its own
    return json.dumps(
        os.name
    )
'''


@pytest.fixture
def codebase(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    return importlib.import_module("codebase")


def test_code_lines_leave_out_blank_lines_comments_and_docstrings(codebase: ModuleType) -> None:
    assert codebase.code_lines(SOURCE) == 6


def test_only_imports_inside_functions_count(codebase: ModuleType) -> None:
    assert codebase.function_imports(ast.parse(SOURCE)) == 1


def test_a_circle_is_found_through_a_third_file_and_a_function(codebase: ModuleType) -> None:
    files = {
        "a.py": "from epicsub import b",
        "b.py": "from epicsub.room.c import name",
        "room/__init__.py": "",
        "room/c.py": "def f():\n    import epicsub.a",
        "d.py": "import epicsub.a",
    }
    found = codebase.circles({Path(name): ast.parse(text) for name, text in files.items()})
    assert found == [{"epicsub.a", "epicsub.b", "epicsub.room.c"}]
