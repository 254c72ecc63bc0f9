"""A file is written whole or not at all."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from epicsub.io import atomic_write, find_shipped, sha256, shipped, user_path, write_text
from epicsub.io.files import walk_files


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_the_known_digest_of_abc(tmp_path: Path) -> None:
    write_text(tmp_path / "abc", "abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("given", ["tiny/mmir_i3d", "tiny/mmir_i3d.yaml", "recipes/tiny/mmir_i3d.yaml"])
def test_a_shipped_file_is_found_by_name_and_a_path_wins(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_shipped("recipes", Path(given)) == shipped("recipes") / "tiny" / "mmir_i3d.yaml"
    write_text(Path(given), "name: own")
    assert find_shipped("recipes", Path(given)) == Path(given)


@pytest.mark.parametrize("given", ["nothing", "/mmir_i3d", ".", "recipes", "../recipes/mmir_i3d"])
def test_what_is_not_shipped_stays_as_given(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_shipped("recipes", Path(given)) == Path(given)


def test_a_link_stays_and_its_file_is_written(tmp_path: Path) -> None:
    kept, link = tmp_path / "kept" / "a.json", tmp_path / "latest.json"
    link.symlink_to("kept/a.json")
    write_text(link, "one")
    assert link.is_symlink()
    assert kept.read_text() == "one"
    assert [entry.name for entry in kept.parent.iterdir()] == ["a.json"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes")
def test_a_pipe_and_a_device_are_written_to(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.json", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(os.devnull)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(pipe.read_text)
        write_text(pipe, "through the pipe")
        assert read.result(10) == "through the pipe"
    write_text(link, "away")
    assert pipe.is_fifo()
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no /dev")
@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "link"])
def test_standard_output_is_written_to_where_it_stands(name: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = "import sys, pathlib, epicsub.io as io; print('first'); io.write_text(pathlib.Path(sys.argv[1]), 'last')"
    with open(tmp_path / "out", "w") as out:  # a file: opened by its name, it would be cut
        subprocess.run([sys.executable, "-c", script, name], stdout=out, cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "first\nlast"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["link", "out"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_path("~/runs") == tmp_path / "runs"
    assert user_path(Path("runs/~")) == Path("runs/~")
    assert user_path("~no such user/runs") == Path("~no such user/runs")


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="mounts, which root alone may")
def test_a_disk_without_inodes_is_not_called_full(tmp_path: Path) -> None:
    script = "import epicsub.io as io, pathlib; [io.write_text(pathlib.Path(name), 'x') for name in '123']"
    words = f'mount -t tmpfs -o nr_inodes=3 tmpfs {tmp_path} && cd {tmp_path} && exec {sys.executable} -c "{script}"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", words], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
    )  # fmt: skip
    assert "holds as many files as it can (`df -i`: 0 of 3 inodes free); delete small files" in done.stderr


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    videos = tmp_path / "root" / "videos"
    videos.mkdir(parents=True)
    write_text(videos / "a.mp4", "")
    (videos / "up").symlink_to(tmp_path)
    (videos / "all").symlink_to("/")
    assert list(walk_files(videos)) == [videos / "a.mp4"]
