"""Bad videos, tables and store entries: each is named with what to do, on the command line, without a traceback."""

import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.conftest import RATES, write_list, write_video
from tests.data.sparse import write_sparse

SEGMENTS = [("P01_01_0", "P01_01", 0.2, 1.4), ("P01_02_0", "P01_02", 0.1, 1.5)]
INFO = "video_id,duration,fps,resolution\nP01_01,2.002,59.94,100x80\nP01_02,2.002,59.94,100x80\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two videos of two seconds with a segment each, the index of each in front of its pictures."""
    for number in (1, 2):
        write_video(tmp_path / f"videos/P01/P01_0{number}.MP4", 120, options={"movflags": "faststart"})
    write_list(tmp_path / "annotations/EPIC_100_train.csv", SEGMENTS, labels=True)
    (tmp_path / "annotations/EPIC_100_video_info.csv").write_text(INFO)
    return tmp_path


def turned(data: bytes) -> bytes:
    """With a flag that turns the pictures by a quarter."""
    changed, matrix = bytearray(data), data.find(b"tkhd") + 44
    changed[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    return bytes(changed)


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated before its index": (lambda data: data[:500], "cannot be opened as a video"),
    "zero bytes": (lambda data: b"", "the file is empty (0 bytes); fetch it again"),
    "no video": (lambda data: b"a page that says sorry\n" * 200, "cannot be opened as a video"),
    "promises more frames than it has": (lambda data: data[: len(data) // 2], "damaged, fetch it again"),
    "turned by a flag": (turned, "carries a flag that turns its pictures by -90 degrees"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_video_is_named_by_check_and_prepare_and_the_other_one_done(command, root: Path, name: str) -> None:
    change, words = BAD[name]
    path = root / "videos/P01/P01_02.MP4"
    path.write_bytes(change(path.read_bytes()))
    checked = command("data", "check", "--data", root, "--workers", 1)
    assert checked.status == 2
    assert f"{path}: " in checked.out
    assert words in checked.out
    assert "1 segment cannot be read" in checked.out
    prepared = command("data", "prepare", "--data", root, "--workers", 1)
    assert prepared.status == 2
    assert words in prepared.err
    assert "no prepared rgb for 1 of 2 videos, the others are done" in prepared.err
    assert [path.name for path in (root / "prepared").rglob("P*.index")] == ["P01_01.index"]


def test_uneven_frames_are_noted_and_prepared_at_their_times(command, root: Path) -> None:
    numbers = [*range(0, 60), *range(60, 120, 3)]
    write_sparse(root / "videos/P01/P01_02.MP4", numbers, RATES["59.94"])
    checked = command("data", "check", "--deep", "--data", root, "--workers", 1)
    assert "frames come at uneven intervals; they are read by their timestamps" in checked.out
    assert command("data", "prepare", "--data", root, "--workers", 1).status == 0


def test_missing_flow_is_counted_by_segments(command, root: Path) -> None:
    done = command("data", "check", "--data", root, "--modality", "flow")
    assert done.status == 2
    assert "no flow for 2 videos: P01_01, P01_02" in done.out
    assert "2 segments cannot be read" in done.out


def test_every_bad_row_is_named_at_once(command, root: Path) -> None:
    table = root / "annotations/EPIC_100_train.csv"
    rows = [*SEGMENTS, ("P01_01_1", "P01_01", 1.4, 0.2), SEGMENTS[0]]
    write_list(table, rows, labels=True)
    table.write_text(table.read_text().replace(",take,1,", ",take,97,"))  # the second row's verb
    for words in (("data", "check"), ("data", "prepare"), ("train", "recipes/tiny/source_only.yaml")):
        done = command(*words, "--data", root)
        assert done.status == 2
        assert "3 problems" in done.err
        for problem in (
            ":3  verb_class 97: the challenge has classes 0 to 96",
            ":4  P01_01_1: starts at 00:00:01.40, not before its stop at 00:00:00.20",
            ":5  narration_id 'P01_01_0' is already in line 2",
        ):
            assert problem in done.err, done.err


def test_a_video_that_is_nowhere(command, root: Path) -> None:
    write_list(root / "annotations/EPIC_100_train.csv", [*SEGMENTS, ("P09_09_0", "P09_09", 0.0, 1.0)], labels=True)
    done = command("data", "check", "--data", root)
    assert done.status == 2
    assert "no rgb for 1 video: P09_09" in done.out
    assert "not in EPIC_100_video_info.csv: P09_09" in done.out
    planned = command("data", "prepare", "--data", root, "--plan")
    assert planned.status == 0
    assert "2 to do, 1 missing" in planned.out


def test_a_full_disk_leaves_nothing_broken_and_the_rest_is_done_later(command, root: Path, monkeypatch) -> None:
    real, flushed = os.fsync, []

    def full(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) > 4:  # within the second video
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    done = command("data", "prepare", "--data", root, "--workers", 1)
    monkeypatch.setattr(os, "fsync", real)
    assert done.status == 2
    assert "the disk is full (No space left on device)" in done.err
    assert "1 of 2 videos done and kept, nothing broken is left behind: make room and run the same" in done.err
    assert not list((root / "prepared").rglob(".P*"))
    assert len(list((root / "prepared").rglob("P*.index"))) == 1
    again = command("data", "prepare", "--data", root, "--workers", 1)
    assert again.status == 0
    assert "rgb: 1 video prepared" in again.out


def test_the_deep_check_decodes_the_store(command, root: Path) -> None:
    assert command("data", "prepare", "--data", root, "--workers", 1).status == 0
    whole = command("data", "check", "--deep", "--data", root, "--workers", 1)
    assert whole.status == 0, whole.out
    assert "4 files, 0 with problems (every frame decoded)" in whole.out
    entry = root / "prepared/rgb/P01/P01_02.h264"
    data = bytearray(entry.read_bytes())
    data[len(data) // 2] ^= 255
    entry.write_bytes(data)
    assert command("data", "check", "--data", root, "--workers", 1).status == 0  # headers alone do not show it
    found = command("data", "check", "--deep", "--data", root, "--workers", 1)
    assert found.status == 2
    assert f"\n{entry}: has other bytes than were written: damaged, delete it and run `epicsub data pre" in found.out
    assert "1 segment cannot be read" in found.out
    entry.with_suffix(".index").write_bytes(b"{")
    half = command("data", "check", "--data", root, "--workers", 1)
    assert half.status == 0
    assert "counts as missing: run `epicsub data prepare` again" in half.out
    assert command("data", "prepare", "--data", root, "--workers", 1).status == 0
    assert command("data", "check", "--deep", "--data", root, "--workers", 1).status == 0
