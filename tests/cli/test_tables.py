"""What the next command needs is never cut or folded, however narrow the terminal."""

import json

import pytest
from rich.table import Table

from epicsub.cli.main import app
from epicsub.cli.options import print_whole

NAME = "may_12_two_stream_ensemble_with_flow_and_five_views_per_segment_of_the_test_list_a"


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_tables_are_as_wide_as_their_names(capsys):
    table = Table("name", "path")
    table.add_row(NAME, f"outputs/{NAME}/last.pth")
    print_whole(table, f"a line about {NAME} [and so on] as well")
    printed = capsys.readouterr().out.splitlines()
    assert any(NAME in line and f"outputs/{NAME}/last.pth" in line for line in printed)
    assert printed[-1] == f"a line about {NAME} [and so on] as well"


def test_the_ledger_names_what_uploaded_wants(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "submissions" / NAME
    folder.mkdir(parents=True)
    members = [{"name": f"{NAME}_{n}"} for n in range(3)]
    (folder / "manifest.json").write_text(json.dumps({"members": members, "files": {}}))
    app(["submissions"], standalone_mode=False)
    printed = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith(NAME) and f"{NAME}_2" in line for line in printed)
