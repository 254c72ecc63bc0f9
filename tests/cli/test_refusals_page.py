"""docs/refusals.md says what the commands really print."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all


def test_the_page_is_up_to_date(kitchens: Path, run: Path, repository: Path, tmp_path: Path, monkeypatch) -> None:
    """Every case is tried in a folder of its own, on the session's kitchens and run."""
    monkeypatch.syspath_prepend(str(repository / "docs" / "refusals"))
    trying, sections = (importlib.import_module(name) for name in ("trying", "sections"))
    for name in ("trying", "sections", "user_files", "to_scores", "to_upload"):
        monkeypatch.delitem(sys.modules, name)
    place = tmp_path.resolve()
    trying.link(place)
    (place / "kitchens").symlink_to(kitchens)
    shutil.copytree(run, place / "outputs" / "short")
    made = trying.page(place, sections.SECTIONS).splitlines()
    kept = (repository / "docs" / "refusals.md").read_text(encoding="utf-8").splitlines()
    assert made == kept, "run python docs/refusals"
