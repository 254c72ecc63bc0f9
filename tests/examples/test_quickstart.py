"""The notebook runs from its first cell to its last in an empty folder, and keeps no outputs."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient


def test_the_notebook_runs(repository: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(repository / "examples" / "quickstart.ipynb", as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / "submissions" / "quickstart" / "submission_json.zip").is_file()


def test_outputs_are_not_kept(repository: Path) -> None:
    cells = nbformat.read(repository / "examples" / "quickstart.ipynb", as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
