"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from epicsub.io import atomic_write, find_shipped, sha256, shipped, write_text


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
