"""epicsub data boxes, as a user meets it."""

import json
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from epicsub import load_model
from epicsub.data.annotations import read_segments
from epicsub.data.boxes.convert import find_sources
from epicsub.data.boxes.detections import FrameDetections, Hand, Thing
from epicsub.data.boxes.official import Message, write_message
from epicsub.data.boxes.store import boxes_path, open_boxes, write_boxes
from epicsub.errors import InferenceError
from tests.cli.conftest import Call

FOUND = FrameDetections([Hand((0.1, 0.2, 0.3, 0.4), 0.9, 3, (0.1, 0.1), 1)], [Thing((0.2, 0.3, 0.4, 0.5), 0.9)])


def write_official(path: Path, frames: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps([write_message(Message(path.stem, n + 1, FOUND)) for n in range(frames)]))


def test_both_layouts_and_the_folder_itself(command: Call, tmp_path: Path) -> None:
    places = ("hand-objects/P01/P01_01.pkl", "P02/hand-objects/P02_01.pkl", "hand-objects/P03/hand-objects/P03_01.pkl")
    for place in places:
        write_official(tmp_path / place, 1)
    (tmp_path / "P01").mkdir()
    (tmp_path / "P01" / "P01_01.pkl").symlink_to(tmp_path / places[0])  # the same file is no second one
    assert sorted(find_sources(tmp_path)) == ["P01_01", "P02_01", "P03_01"]
    assert sorted(find_sources(tmp_path / "hand-objects")) == ["P01_01", "P03_01"]
    root = tmp_path / "root"
    done = command("data", "boxes", "--data", root, "--from", tmp_path)
    assert done.status == 0, done.err
    assert "3 videos done, 0 were there" in done.out
    write_official(tmp_path / "P01" / "hand-objects" / "P01_01.pkl", 2)
    done = command("data", "boxes", "--data", root, "--from", tmp_path)
    assert done.status == 2
    assert "several files for one video" in done.err
    empty = command("data", "boxes", "--data", tmp_path / "empty")
    assert empty.status == 2
    assert "--from DIR" in empty.err


TRAIN = [
    "supervision.labels=5", "train.stages.0.steps=2", "train.stages.0.source_batch=4", "train.log_every=1",
    "train.stages.0.warmup_steps=0", "data.workers=0", "data.frames=8", "evaluation.protocol=small.yaml",
]  # fmt: skip


def test_a_run_with_boxes_tells_its_coverage_from_the_first_lines_to_the_manifest(
    command: Call, boxed: Path, work: Path, tmp_path: Path
) -> None:
    words = ["recipes/tiny/i3d_r50.yaml", "data.boxes={slices: 2}", *TRAIN, "--data", boxed]
    done = command("train", *words, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert re.search(r"boxes of EPIC_100_train.csv, 2018: \d+ of 48 segments \(\d+\.\d %\) have a box, \d", done.err)
    report = tmp_path / "scores.json"
    scored = command("validate", tmp_path / "run", "--data", boxed, "--json", report)
    assert scored.status == 0, scored.err
    assert "boxes of the list, 2018: " in scored.err
    assert re.search(r"boxes, 2018: \d+ of 24 segments have one", scored.out)
    (found,) = json.loads(report.read_text()).values()
    coverage = found["boxes"]["coverage"]["2018"]
    assert coverage["segments"] == 24
    assert 20 <= coverage["covered"] <= 24
    assert 1 < coverage["mean_slots"] <= 6
    assert "all_noun_accuracy_at_1" in found["boxes"]["scores"]["with"]
    sent = command("submit", tmp_path / "run", "--data", boxed, "--name", tmp_path / "sent")
    assert sent.status == 0, sent.err
    manifest = json.loads((tmp_path / "sent" / "manifest.json").read_text())
    assert manifest["members"][0]["boxes"]["2020"]["segments"] == 20
    assert manifest["supervision"]["sls_tl"] == 5 if "supervision" in manifest else True


def test_missing_boxes_stop_the_run_unless_that_is_accepted(command: Call, boxed: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "boxes").mkdir(parents=True)
    for name in ("annotations", "videos"):
        (root / name).symlink_to(boxed / name)
    for kitchen in ("P02", "P03", "P04"):
        (root / "boxes" / kitchen).symlink_to(boxed / "boxes" / kitchen)
    words = ["recipes/tiny/i3d_r50.yaml", "data.boxes={slices: 2}", *TRAIN, "--data", root]
    stopped = command("train", *words, "--out", tmp_path / "a")
    assert stopped.status == 2
    assert re.search(r"P01_01: no boxes for \d+ segments \(.*boxes/P01/P01_01.safetensors\)", stopped.err)
    assert "data.boxes.missing=none" in stopped.err
    assert "--detector mediapipe" in stopped.err
    status = command("data", "status", "recipes/tiny/i3d_r50.yaml", "--data", root)
    assert re.search(r"boxes\W+\d+ of \d+", status.out)
    accepted = command("train", *words, "data.boxes.missing=none", "--out", tmp_path / "b")
    assert accepted.status == 0, accepted.err
    line = re.search(r"boxes of EPIC_100_train.csv, 2018: (\d+) of 48", accepted.err)
    assert line is not None
    assert int(line[1]) < 44


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (["supervision.labels=3"], "supervision.labels: is 3, but the detector of data.boxes learnt from"),
        (["train.mixing={mixup: 0.8}"], "train.mixing.mixup: is 0.8, but a mixed clip shows two clips"),
        (["train.mixing={cutmix: 1.0}"], "train.mixing.cutmix: is 1.0, but a mixed clip shows two clips"),
        (["data.augment.rand_augment={}"], "data.augment.rand_augment: moves and shears the picture"),
        (["data.boxes.slices=3"], "data.boxes.slices: is 3, must divide data.frames (8)"),
        (["data.modalities=[flow]", "model.weights={flow: null}"], "boxes are of rgb, add it"),
        (["data.boxes.object_score=0.01"], "data.boxes.object_score: is 0.01, must be at least 0.05"),
    ],
)
def test_what_would_break_boxes_is_refused_by_name(command: Call, changes: list[str], says: str) -> None:
    level = [] if changes[0].startswith("supervision") else ["supervision.labels=5"]
    shown = command("show", "recipes/tiny/i3d_r50.yaml", "data.boxes={slices: 2}", *level, *changes)
    assert shown.status == 2
    assert says in shown.err


def test_data_check_and_status_cover_boxes(command: Call, boxed: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("annotations", "videos"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(boxed / name)
    shutil.copytree(boxed / "boxes", root / "boxes")
    fine = command("data", "check", "--data", root, "--modality", "rgb", "--workers", 1)
    assert fine.status == 0, fine.out
    assert re.search(r"boxes, 2018: \d+ videos, \d+ frames, [5-9]\d\.\d % with a hand", fine.out)
    assert "boxes, 2020: " in fine.out
    status = command("data", "status", "--data", root)
    assert re.search(r"boxes\W+(\d+) of \1 \(100.0 %\)", status.out)
    videos = sorted({segment.video_id for segment in read_segments(root / "annotations" / "EPIC_100_train.csv")})
    first, second, third, fourth = (boxes_path(root, video_id) for video_id in videos[:4])
    first.write_bytes(first.read_bytes()[:-3])
    boxes = open_boxes(second)
    rows = boxes.arrays.hands.copy()
    rows[0, 0], rows[0, 2] = rows[0, 2], rows[0, 0]
    write_boxes(second, replace(boxes.arrays, hands=rows), boxes.note)
    boxes = open_boxes(third)
    cut = {name: getattr(boxes.arrays, name)[:-40] for name in ("hand_starts", "object_starts")}
    hands, objects = (int(starts[-1]) for starts in cut.values())
    of_hands = {name: getattr(boxes.arrays, name)[:hands] for name in ("hands", "offsets", "states", "sides")}
    short = replace(boxes.arrays, **cut, **of_hands, objects=boxes.arrays.objects[:objects])
    write_boxes(third, short, boxes.note)
    fourth.unlink()
    wrong = command("data", "check", "--data", root, "--modality", "rgb", "--workers", 1)
    assert wrong.status == 2
    assert f"{first}: is no whole file of boxes" in wrong.out
    assert re.search(rf"{second}: 1 of \d+ hands have a left edge right of the right one", wrong.out)
    assert re.search(rf"{third}: holds \d+ frames, \d+\.\d\d s", wrong.out)
    assert f"no boxes for 1 video: {fourth.stem}" in wrong.out


def test_a_second_stream_sees_the_hands(command: Call, boxed: Path, tmp_path: Path) -> None:
    two = ["data.modalities=[rgb, hand_crop]", "model.weights={rgb: null, hand_crop: null}"]
    words = ["recipes/tiny/i3d_r50.yaml", "data.boxes={slices: 2}", *TRAIN, *two, "--data", boxed]
    refused = command("train", *words, "--out", tmp_path / "run")
    assert refused.status == 2
    assert "data.crop: is null, but data.modalities is [rgb, hand_crop]: write hands" in refused.err
    refused = command("train", *words[:1], *TRAIN, "data.crop=hands", "--data", boxed, "--out", tmp_path / "run")
    assert "data.crop: is 'hands', but data.modalities is [rgb]: add hand_crop" in refused.err
    assert "data.boxes: missing, data.crop hands finds the hands by them" in refused.err
    done = command("train", *words, "data.crop=hands", "--out", tmp_path / "run")
    assert done.status == 0, done.err
    scored = command("validate", tmp_path / "run", "--data", boxed, "--tta", "2x3+flip")
    assert scored.status == 0, scored.err
    model = load_model(tmp_path / "run", data=boxed)
    video = next((boxed / "videos" / "P05").glob("P05_0*.MP4"))
    link = tmp_path / "root" / "videos" / "P05" / video.name
    link.parent.mkdir(parents=True)
    shutil.copy(video, link)
    with pytest.raises(InferenceError, match="reads boxes, and there are none"):
        model.predict_clip(link, 0.2, 0.9)
    (tmp_path / "root" / "boxes").symlink_to(boxed / "boxes")
    assert model.predict_clip(link, 0.2, 0.9).verb_logprobs.shape == (97,)
