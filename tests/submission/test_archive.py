"""The zip that is written by hand, held against Python's own."""

import io
import shutil
import subprocess
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epicsub.submission import archive
from epicsub.submission.archive import write_zip


def pieces_of(parts):
    return [lambda part=part: part for part in parts]


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(st.binary(max_size=300), max_size=8))
def test_what_is_read_is_what_was_given(tmp_path_factory, parts):
    path = tmp_path_factory.mktemp("zip") / "x.zip"
    write_zip(path, "test.json", pieces_of(parts))
    with zipfile.ZipFile(path) as read:
        assert read.testzip() is None
        assert read.read("test.json") == b"".join(parts)


def test_every_field_is_as_zipfile_would_write_it(tmp_path):
    """But for the sizes, the headers are the very bytes of a zip that zipfile wrote."""
    write_zip(tmp_path / "x.zip", "test.json", pieces_of([b"some", b"thing" * 100]))
    ours = (tmp_path / "x.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip") as read:
        entry = read.infolist()[0]
    assert (entry.date_time, entry.create_system, entry.compress_type) == (
        (1980, 1, 1, 0, 0, 0),
        3,
        zipfile.ZIP_DEFLATED,
    )
    assert entry.external_attr >> 16 == 0o100644
    made = zipfile.ZipInfo("test.json")
    made.compress_type, made.create_system, made.external_attr = zipfile.ZIP_DEFLATED, 3, 0o100644 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compresslevel=5) as theirs:
        theirs.writestr(made, b"some" + b"thing" * 100)
    theirs_bytes = buffer.getvalue()
    header = 30 + len("test.json")
    assert ours[:18] == theirs_bytes[:18]  # up to the packed size, the checksum included
    assert ours[22:header] == theirs_bytes[22:header]
    central, end = -22 - 46 - len("test.json"), -22
    assert ours[central : central + 20] == theirs_bytes[central : central + 20]
    assert ours[central + 24 : end] == theirs_bytes[central + 24 : end]
    assert ours[end:-6] == theirs_bytes[end:-6]


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_another_program_reads_it(tmp_path):
    write_zip(tmp_path / "x.zip", "test.json", pieces_of([b"a" * 100000, b"b"]))
    tested = subprocess.run(["unzip", "-tq", tmp_path / "x.zip"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout


def test_the_number_of_cores_does_not_show(tmp_path, monkeypatch):
    parts = [bytes([n]) * 5000 for n in range(30)]
    written = []
    for cores in (1, 3, None):
        monkeypatch.setattr(archive.os, "cpu_count", lambda cores=cores: cores)
        write_zip(tmp_path / "x.zip", "a", pieces_of(parts))
        written.append((tmp_path / "x.zip").read_bytes())
    assert written[0] == written[1] == written[2]


def test_a_piece_that_fails_fails_the_whole(tmp_path):
    def fails():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        write_zip(tmp_path / "x.zip", "a", [lambda: b"x", fails, lambda: b"y"])


def test_too_large_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "_MOST", 1000)
    with pytest.raises(ValueError, match="4 GiB"):
        write_zip(tmp_path / "x.zip", "a", [lambda: b"x" * 1001])
