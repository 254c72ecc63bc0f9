"""Files as they lie on disks: links, strays, tags in any encoding, what may not be read; one stops no other."""

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import epicsub
from epicsub.data.annotations import read_segments
from epicsub.data.decode.reader import DECODERS, why_not
from epicsub.data.features.store import read_index as read_features
from epicsub.data.frames import ExtractedFrames
from epicsub.data.prepared.video import PreparedVideo
from epicsub.errors import EpicsubError
from epicsub.io.files import printable
from epicsub.models.weights import read_tensors
from epicsub.submission.reopen import reopen
from epicsub.training.checkpoint import load_checkpoint
from epicsub.validation.tables import read_table
from tests.data.conftest import number_of, write_list, write_video

STRAYS = ("P01/._P01_01.MP4", "P01/P01_01 (1).MP4", "P01/.DS_Store", "P01/P01_02.MP4.part", "P01/GOPR0001.MP4",
          "P01/P01_02.mkv", "old/P01_03.MP4", "P01/.P01_01.MP4.Xa3b9Q", os.fsdecode(b"P01/caf\xe9.MP4"))  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two short videos with a segment each."""
    for number in (1, 2):
        write_video(tmp_path / f"videos/P01/P01_0{number}.MP4", 12)
    segments = [(f"P01_0{number}_0", f"P01_0{number}", 0.02, 0.15) for number in (1, 2)]
    write_list(tmp_path / "annotations/EPIC_100_train.csv", segments, labels=True)
    return tmp_path


def flow_files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "flow").rglob("P*.mp4"))


@pytest.mark.parametrize("stray", STRAYS)
def test_a_stray_file_is_told_and_left_alone(command, root: Path, stray: str) -> None:
    path = root / "videos" / stray
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    for words in (("flow",), ("prepare",), ("check",), ("status",)):
        done = command("data", *words, "--data", root, *(("--workers", 1) if words != ("status",) else ()))
        assert done.status == 0, done.err
        assert "1 file is left alone, because name or place is not that of a video" in done.out + done.err
        assert printable(path) in done.out + done.err
    assert flow_files(root) == ["P01_01.mp4", "P01_02.mp4"]
    assert path.read_bytes() == b"x"


def test_strays_beside_what_is_written_stay_too(command, root: Path) -> None:
    command("data", "prepare", "--data", root, "--workers", 1, "--modality", "rgb")
    kept = [root / "prepared/rgb/P01" / name for name in (".P01_01.h264.Xa3b9Q", "._P01_01.index", "P01_01 (1).h264")]
    kept.append(root / "flow/P01/.P01_01.mp4.Xa3b9Q")
    kept[-1].parent.mkdir(parents=True)
    for path in kept:
        path.write_bytes(b"x")
    for words in (("prepare", "--overwrite", "--crf", 30, "--modality", "rgb"), ("flow",)):
        assert command("data", *words, "--data", root, "--workers", 1).status == 0
    assert all(path.read_bytes() == b"x" for path in kept)


def test_kitchens_and_videos_behind_links_and_loops(command, root: Path, tmp_path_factory) -> None:
    there = tmp_path_factory.mktemp("disk")
    (root / "videos").rename(there / "all")
    (there / "all/P01/P01_02.MP4").rename(there / "elsewhere.mp4")
    (there / "all/P01/P01_02.MP4").symlink_to(there / "elsewhere.mp4")
    (there / "all/P01/again").symlink_to(there / "all")  # a loop
    (root / "videos").mkdir()
    (root / "videos/P01").symlink_to(there / "all/P01")
    (root / "videos/round").symlink_to(root)
    done = command("data", "flow", "--data", root, "--workers", 1)
    assert done.status == 0, done.err
    assert flow_files(root) == ["P01_01.mp4", "P01_02.mp4"]


def test_linked_recipes_are_listed(tmp_path: Path) -> None:
    from epicsub.recipe.load import list_recipes

    there = tmp_path / "there"
    there.mkdir()
    (there / "mine.yaml").write_text("name: mine\n")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/shared").symlink_to(there)
    (tmp_path / "here/._mine.yaml").write_bytes(b"\0")
    assert [listed.path.name for listed in list_recipes(tmp_path / "here")] == ["mine.yaml"]


def test_no_video_at_all_is_an_error(command, root: Path) -> None:
    (root / "videos").rename(root / "Videos")
    done = command("data", "flow", "--data", root)
    assert done.status == 2
    assert f"{root}/videos: no videos such as P01/P01_01.MP4" in done.err


def test_the_layout_of_epic_kitchens_55(command, root: Path) -> None:
    before = epicsub.read_frames(root, "P01_01", [0.1])
    for split in ("train", "test"):
        (root / "videos" / split / "P01").mkdir(parents=True)
    (root / "videos/P01/P01_01.MP4").rename(root / "videos/train/P01/P01_01.MP4")
    (root / "videos/P01/P01_02.MP4").rename(root / "videos/test/P01/P01_02.MP4")
    np.testing.assert_array_equal(epicsub.read_frames(root, "P01_01", [0.1]), before)
    assert command("data", "check", "--data", root, "--workers", 1).status == 0


def test_what_is_missing_says_where_was_looked_and_what_is_near(command, root: Path) -> None:
    (root / "videos/P01/P01_01.MP4").rename(root / "videos/P01/P01_01.MP4.crdownload")
    with pytest.raises(EpicsubError) as refused:
        epicsub.read_frames(root, "P01_01", [0.1])
    checked = command("data", "check", "--data", root, "--workers", 1)
    for text in (str(refused.value), checked.out):
        for place in (f"{root}/videos/P01/P01_01.MP4", "train/P01/", f"{root}/rgb_frames/P01/P01_01/ or .tar"):
            assert place in text
        assert f"there is {root}/videos/P01/P01_01.MP4.crdownload" in text


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_tags_that_are_not_utf8(command, root: Path, suffix: str, decoder: str) -> None:
    if why_not(decoder):
        pytest.skip(f"no {decoder}")
    old = root / "videos/P01/P01_01.MP4"
    new = old.with_suffix(f".{suffix}")
    with av.open(str(old)) as given, av.open(str(root / f"x.{suffix}"), "w", metadata_errors="surrogateescape") as out:
        out.metadata["title"] = b"caf\xe9".decode("utf-8", "surrogateescape")
        stream = out.add_stream_from_template(given.streams.video[0])
        stream.metadata["title"] = b"na\xefve \xff".decode("utf-8", "surrogateescape")
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    assert b"caf\xe9" in (root / f"x.{suffix}").read_bytes()
    old.unlink()
    (root / f"x.{suffix}").rename(new)
    assert number_of(epicsub.read_frames(root, "P01_01", [0.1], decoder=decoder)[0]) in (5, 6)
    if decoder == DECODERS[0]:
        for words in ("check", "prepare", "flow"):
            assert command("data", words, "--data", root, "--workers", 1).status == 0


def _frames(path: Path) -> ExtractedFrames:
    return ExtractedFrames(path, "P01_01", "rgb")


def _prepared(path: Path) -> PreparedVideo:
    return PreparedVideo(path.with_suffix(".index"))


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "video": ("videos/P01/P01_01.MP4", lambda path: epicsub.read_frames(path.parents[2], "P01_01", [0.1])),
    "list": ("annotations/EPIC_100_train.csv", read_segments),
    "table": ("annotations/EPIC_100_train.csv", read_table),
    "prepared": ("prepared/rgb/P01/P01_01.h264", _prepared),
    "frames": (
        "rgb_frames/P01/P01_01/frame_0000000001.jpg",
        lambda path: _frames(path.parent),
    ),
    "tar": ("rgb_frames/P01/P01_03.tar", _frames),
    "checkpoint": ("last.pth", load_checkpoint),
    "weights": ("weights.pt", read_tensors),
    "weights too": ("weights.safetensors", read_tensors),
    "predictions": ("predictions.npz", epicsub.read_predictions),
    "predictions too": ("predictions.pkl", epicsub.read_predictions),
    "submission": ("submission.zip", lambda path: _refuse(path, reopen(path, "action_recognition").problems)),
    "recipe": ("recipe.yaml", epicsub.load_recipe),
    "features": ("features/mine/index.json", lambda path: read_features(path.parent)),
}


def _refuse(path: Path, problems: list[str]) -> None:
    raise EpicsubError(f"{path}: {problems}")


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_the_systems_reason_is_told(command, root: Path, monkeypatch, what: str, number: int) -> None:
    place, read = READERS[what]
    path = root / place
    if what == "prepared":
        command("data", "prepare", "--data", root, "--workers", 1, "--modality", "rgb")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        torch.save({}, path)
    real, real_open = builtins.open, Path.open

    def refusing(file, *words, **options):
        if str(file) == str(path):
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *words, **options)

    monkeypatch.setattr(builtins, "open", refusing)
    monkeypatch.setattr(Path, "open", refusing)
    monkeypatch.setattr(Path, "read_bytes", lambda self: refusing(self, "rb").read())
    with pytest.raises(EpicsubError) as told:
        read(path)
    monkeypatch.setattr(Path, "open", real_open)
    assert str(path) in str(told.value)
    assert os.strerror(number) in str(told.value)
    assert "fetch it again" not in str(told.value)
    assert "damaged" not in str(told.value)


def test_a_folder_that_may_not_be_listed_stops_no_other(command, root: Path, monkeypatch) -> None:
    write_video(root / "videos/P02/P02_01.MP4", 12)
    real, denied = Path.iterdir, root / "videos/P02"

    def refusing(self: Path):
        if self == denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    done = command("data", "flow", "--data", root, "--workers", 1)
    assert done.status == 2
    assert f"{denied}: cannot be listed: Permission denied" in done.err
    assert flow_files(root) == ["P01_01.mp4", "P01_02.mp4"]


def test_a_link_to_nothing_and_a_place_that_may_not_be_written_stop_no_other(command, root: Path, monkeypatch) -> None:
    link = root / "videos/P01/P01_02.MP4"
    link.unlink()
    link.symlink_to(root / "gone.MP4")
    write_video(root / "videos/P02/P02_01.MP4", 12)
    (root / "flow").mkdir()
    (root / "flow/P02").write_text("a file where a folder is to be")
    flow = command("data", "flow", "--data", root, "--workers", 1)
    checked = command("data", "check", "--data", root, "--workers", 1, "--modality", "rgb")
    prepared = command("data", "prepare", "--data", root, "--workers", 1, "--modality", "rgb")
    assert (flow.status, checked.status, prepared.status) == (2, 2, 2)
    for text in (flow.err, checked.out, prepared.err):
        assert f"{link}: cannot be read: a link to {root}/gone.MP4, which is not there" in text
    assert "no flow for 2 of 3 videos, the others are done" in flow.err
    assert f"{root}/flow/P02" in flow.err
    assert flow_files(root) == ["P01_01.mp4"]
    assert [path.name for path in (root / "prepared").rglob("P*.index")] == ["P01_01.index"]
