"""Options of the data commands that would be ignored or make no sense, and one modality that cannot be prepared."""

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from epicsub.io import hold_folder

from ..data.conftest import write_list
from ..data.sparse import write_jpegs, write_sparse

RATE = Fraction(60000, 1001)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One segment of a video that is none."""
    write_list(tmp_path / "annotations/EPIC_100_train.csv", [("P01_01_0", "P01_01", 0.0, 0.2)], labels=True)
    (tmp_path / "videos/P01").mkdir(parents=True)
    (tmp_path / "videos/P01/P01_01.MP4").write_bytes(b"no video")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--modality", "flow", "--crf", 35), "--crf 35: is for rgb, but only flow is prepared"),
        (("--modality", "flow", "--short-side", 128), "--short-side 128: is for rgb, but only flow is prepared"),
        (("--modality", "rgb", "--flow-crf", 35), "--flow-crf 35: is for flow, but only rgb is prepared"),
        (("--flow-crf", 35), "--flow-crf 35: is for flow, but only rgb is prepared"),  # no flow is here
    ],
)
def test_what_would_be_ignored_is_refused(command, root, words, message) -> None:
    refused = command("data", "prepare", "--data", root, *words)
    assert refused.status == 2
    assert message in refused.err


@pytest.mark.parametrize("name", ["check", "prepare", "flow"])
@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers_are_refused(command, root, name, workers) -> None:
    refused = command("data", name, "--data", root, "--workers", workers)
    assert refused.status == 2
    assert "--workers" in refused.err


def test_a_clip_of_no_number_is_refused(command, root) -> None:
    refused = command("data", "check", "--data", root, "--clip-seconds", "nan")
    assert refused.status == 2
    assert "clip_seconds=nan: expected seconds of a clip, above 0" in refused.err


def test_a_bad_video_does_not_keep_its_flow_from_being_prepared(command, root) -> None:
    write_sparse(root / "flow/P01/P01_01.mp4", range(20), RATE / 2, flow=True)
    done = command("data", "prepare", "--data", root, "--workers", 1)
    assert done.status == 2
    assert "rgb: size unknown" in done.out
    assert "flow: 1 video prepared" in done.out
    assert "no prepared rgb for 1 of 1 video" in done.err
    assert (root / "prepared/flow/P01/P01_01.index").is_file()
    assert "short_side" not in (root / "prepared/flow/P01/P01_01.index").read_bytes().decode(errors="replace")


def test_another_run_s_lock_ends_all_of_it_at_once(command, root) -> None:
    write_sparse(root / "videos/P01/P01_01.MP4", range(20), RATE)
    write_sparse(root / "flow/P01/P01_01.mp4", range(20), RATE / 2, flow=True)
    with hold_folder(root / "prepared/rgb"):
        refused = command("data", "prepare", "--data", root, "--workers", 1)
    assert refused.status == 2
    assert "prepared/rgb: another process is writing there" in refused.err
    assert not (root / "prepared/flow").exists()


def test_extracted_flow_is_flow(command, root) -> None:
    write_jpegs(root / "flow_frames/P01/P01_01", {n: n for n in range(10)}, base=1, flow=True)
    planned = command("data", "prepare", "--data", root, "--plan")
    assert planned.status == 0, planned.err
    assert "listed: 1 segment of 1 video" in planned.out
    assert "flow: " in planned.out


def test_external_features_take_no_options_of_a_model(command, root) -> None:
    (root / "uda.pkl").write_bytes(b"")
    words = ("--tta", "5x3", "--list", "nothing.csv", "--device", "cuda")
    refused = command("data", "features", root / "uda.pkl", "-o", root / "out", *words)
    assert refused.status == 2
    assert "--tta, --list, --device: for features that a checkpoint makes" in refused.err
    assert not (root / "out").exists()


def test_two_at_once_into_one_folder_of_features_are_refused(command, tmp_path) -> None:
    table = {"features": {"RGB": np.zeros((1, 25, 4), np.float32)}, "narration_ids": ["P01_01_0"]}
    (tmp_path / "others.pkl").write_bytes(pickle.dumps(table))
    with hold_folder(tmp_path / "made"):
        refused = command("data", "features", tmp_path / "others.pkl", "-o", tmp_path / "made")
        assert refused.status == 2
        assert "another process is writing there" in refused.err
    assert command("data", "features", tmp_path / "others.pkl", "-o", tmp_path / "made").status == 0
