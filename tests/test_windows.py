"""What Windows lacks is refused by name, and no file needs it to be imported."""

import ast
import os
import sys
from pathlib import Path

import pytest

from epicsub.data.prepared.video import PreparedVideo
from epicsub.errors import DataError, TrainingError
from epicsub.training.find import peak_memory

POSIX_ONLY = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def test_no_file_needs_posix_to_be_imported(repository: Path) -> None:
    for path in (repository / "epicsub").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX_ONLY & set(names), f"{path}: {names}"


def test_counting_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(TrainingError, match="Windows has no getrusage"):
        peak_memory()


def test_the_prepared_store_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "pread")
    with pytest.raises(DataError, match=r"which Windows lacks: set data\.store=original"):
        PreparedVideo(tmp_path / "a")
