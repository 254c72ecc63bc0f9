"""The lock names versions and check sums of everything and no addresses; a command lists licences."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import supply


def test_every_locked_version_has_check_sums_and_no_address() -> None:
    assert set(supply.recorded()) == {f"{name}=={version}" for name, version in supply.locked().items()}
    assert all(len(one) == 64 for sums in supply.recorded().values() for one in sums)
    assert all(supply.recorded().values())
    assert "://" not in supply.LOCK.read_text() + supply.HASHES.read_text()


def fetched(version: str, sha256: str) -> dict:
    info = {"url": f"file:///x/av-{version}.whl", "archive_info": {"hashes": {"sha256": sha256}}}
    return {"install": [{"metadata": {"name": "AV", "version": version}, "download_info": info}]}


def test_what_pip_fetched_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"av==18.1.0": {"aa"}}
    assert supply.check(fetched("18.1.0", "aa"), known) == []
    assert "has SHA-256 bb" in supply.check(fetched("18.1.0", "bb"), known)[0]
    assert supply.check(fetched("18.2.0", "aa"), known) == []  # of another platform
    assert "av==18.2.0: not checked, requirements.lock has no such version" in capsys.readouterr().err
    assert supply.check(fetched("18.1.0+cpu", "cc"), known) == []


def test_licences_of_all_dependencies_are_listed() -> None:
    script = Path(supply.__file__)
    done = subprocess.run([sys.executable, script, "licences"], capture_output=True, text=True, check=True)
    assert any(line.split()[:1] == ["numpy"] and "BSD" in line for line in done.stdout.splitlines())
    assert "torch " in done.stdout
