"""Data that cannot be written: every command that writes has another place."""

import os
import shutil
import subprocess
import sys

import pytest

from epicsub.data.check import memory
from epicsub.data.root import DataRoot


@pytest.fixture
def locked(kitchens, tmp_path):
    """The kitchens without flow, in a root that only root could write."""
    root = tmp_path / "data"
    root.mkdir()
    for name in ("annotations", "videos"):
        (root / name).symlink_to(kitchens / name)
    return root


def test_flow_store_and_lists_go_to_a_root_of_links(command, kitchens, locked, tmp_path):
    before = {path.name for path in locked.iterdir()}
    own = tmp_path / "own"
    (locked / "flow").mkdir()
    ids = DataRoot(kitchens).videos_there().video_ids
    for video in ids[1:]:
        source = DataRoot(kitchens).computed(video, "flow")
        target = DataRoot(locked).computed(video, "flow")
        target.parent.mkdir(exist_ok=True)
        shutil.copy(source, target)
    done = command("data", "flow", "--data", locked, "--out", own)
    assert done.status == 0, done.err
    assert f"1 video computed, {len(ids) - 1} were there" in done.out
    assert f"give --data {own}" in done.err
    assert {path.name for path in locked.iterdir()} == before | {"flow"}
    assert not DataRoot(locked).computed(ids[0], "flow").exists()
    done = command("data", "prepare", "--data", own, "--out", tmp_path / "second", "--list", "EPIC_100_validation.csv")
    assert done.status == 0, done.err
    assert not (own / "prepared").exists()
    done = command("data", "check", "--data", tmp_path / "second", "--list", "EPIC_100_validation.csv")
    assert "all segments can be read" in done.out, done.out


@pytest.mark.parametrize("out", ["data/own", "."])
def test_a_root_within_the_other_is_refused(command, locked, tmp_path, out):
    done = command("data", "flow", "--data", locked, "--out", tmp_path / out)
    assert done.status == 2
    assert "choose a folder beside it" in done.err


def test_a_deep_check_keeps_its_findings_elsewhere(tmp_path, monkeypatch, caplog):
    root, cache = (
        DataRoot(tmp_path / "none"),
        tmp_path / "cache",
    )  # in a folder that is not there nothing can be written
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    with caplog.at_level("INFO", "epicsub"):
        assert memory.memory_of(root).parent == cache / "epicsub"
        assert "what is checked is kept in" in caplog.text
        shutil.rmtree(cache)
        cache.touch()
        assert memory.memory_of(root) is None
    assert "the next one begins again" in caplog.text


IN_READ_ONLY = """
import os, sys
root, command = sys.argv[1], sys.argv[2]
os.execvp("unshare", ["unshare", "--mount", "sh", "-c",
    f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && cd {root} && exec {command}"])
"""


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="mounts, which root alone may")
@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("data flow --bound 5 --overwrite --data .", "--out DIR"),
        ("data prepare --data .", "--out DIR"),
        ("train tiny/source_only --data .", "--out"),
    ],
)
def test_without_another_place_the_message_names_the_option(words, advice, kitchens, repository):
    script = f"{sys.executable} -m epicsub {words}"
    done = subprocess.run(
        [sys.executable, "-c", IN_READ_ONLY, str(kitchens), script], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(repository)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Read-only file system" in done.stderr
    assert advice in done.stderr
    assert "Traceback" not in done.stderr
