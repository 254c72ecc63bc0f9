"""A disk that refuses is told once, with place, reason and room, whatever library was writing; nothing is left half."""

import errno
import os
from pathlib import Path

import pytest

from epicsub.errors import EpicsubError
from epicsub.io import atomic_write, limits
from epicsub.io.files import os_reason


class LibraryError(Exception):
    """As safetensors raises: no OSError, and no cause."""


def write_half(path: Path, error: Exception) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("kind", [RuntimeError, LibraryError, OSError])
def test_any_library_s_words_for_a_full_disk_become_one_error(kind, tmp_path: Path, monkeypatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "x.pt").write_text("before")
    monkeypatch.setattr(limits.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device \(.* of .* free\); make room, or choose") as caught:
        write_half(tmp_path / "x.pt", kind("unexpected pos 64 vs 0"))
    assert caught.value.filename == str(tmp_path / "x.pt")
    assert caught.value.errno == errno.ENOSPC
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
    assert (tmp_path / "x.pt").read_text() == "before"


def test_every_reason_of_the_system_says_what_to_do() -> None:
    for number in (errno.EFBIG, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.EBUSY):
        said = os_reason(OSError(number, os.strerror(number)))
        assert said.startswith(f"{os.strerror(number)}: ")
        assert os_reason(OSError(number, said)) == said, "told once"


def test_a_cause_says_the_reason_and_other_errors_pass(tmp_path: Path) -> None:
    in_cpp = RuntimeError("in C++")
    in_cpp.__cause__ = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    with pytest.raises(OSError, match="Disk quota exceeded") as caught:
        write_half(tmp_path / "x.pt", in_cpp)
    assert caught.value.errno == errno.EDQUOT
    for other in (RuntimeError("our fault"), EpicsubError("told already")):
        with pytest.raises(type(other), match=str(other)):
            write_half(tmp_path / "x.pt", other)
    assert not list(tmp_path.iterdir())
