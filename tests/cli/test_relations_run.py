"""What a run with relations leaves behind: features of hands and objects as modalities, and pictures of its boxes."""

import base64
import re
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from epicsub.inference.box_pictures import COLOURS, SIDE
from epicsub.training import state
from epicsub.training.checkpoint import Checkpoint
from tests.cli.conftest import Call

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

SHORT = [
    "train.stages.0.steps=3", "train.stages.0.source_batch=6", "train.stages.0.warmup_steps=0", "train.log_every=3",
    "data.workers=0", "evaluation.protocol=small.yaml",
]  # fmt: skip
REGIONS = ("hands", "objects")


@pytest.fixture(scope="module")
def related(command: Call, boxed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with relations."""
    out = tmp_path_factory.mktemp("related") / "run"
    recipe = "recipes/tiny/i3d_r50_relations.yaml"
    done = command("train", recipe, *SHORT, "--data", boxed, "--out", out)
    assert done.status == 0, done.err
    return out


def test_adaptation_runs_on_the_regions_of_a_run_with_relations(
    command: Call, boxed: Path, related: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    words = ("data", "features", related, "--regions", "--data", boxed, "-o", folder)
    done = command(*words)
    assert done.status == 0, done.err
    assert "rgb 256, hands 33, objects 33" in done.out
    tensors = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    for name in REGIONS:
        rows = torch.cat([part[name] for part in tensors])
        present = rows[:, -1]
        assert set(present.tolist()) <= {0.0, 1.0}
        assert present.mean() > 0.7
        assert not rows[present == 0].any()
        assert rows[present == 1, :-1].any(dim=1).float().mean() > 0.9
    assert "0 segments made, 92 were there" in command(*words).out
    for recipe, more in (
        ("features_mmir", ["adaptation.agents=null"]),
        ("ta3n", ["model.segments=2"]),
    ):
        source = folder
        if recipe == "ta3n":  # relations between the views of a segment
            source = tmp_path / "views"
            done = command(*words[:-1], source, "--tta", "2x1")
            assert done.status == 0, done.err
        trained = command(
            "train", f"recipes/tiny/{recipe}.yaml", *more, "data.modalities=[hands, objects]",
            f"data.features={source}", "model.dims={hands: 33, objects: 33}", "train.log_every=1",
            "train.stages.0.steps=2", *(["train.stages.1.steps=2"] if recipe == "features_mmir" else []),
            "evaluation.protocol=small.yaml", "--data", boxed, "--out", tmp_path / recipe,
        )  # fmt: skip
        assert trained.status == 0, trained.err


def test_a_run_without_relations_has_no_regions(command: Call, kitchens: Path, run: Path, tmp_path: Path) -> None:
    done = command("data", "features", run, "--regions", "--data", kitchens, "-o", tmp_path / "features")
    assert done.status == 2
    assert "--regions: tiny_mmir_i3d has no relations" in done.err
    assert not (tmp_path / "features").exists()


def test_a_run_with_relations_that_is_stopped_ends_the_same(
    command: Call, boxed: Path, related: Path, tmp_path: Path
) -> None:
    """Boxes that training leaves out are drawn by the step, and pooled boxes add in one order."""
    recipe = "recipes/tiny/i3d_r50_relations.yaml"
    words = ["train", recipe, *SHORT, "train.checkpoint_every=1", "--data", boxed, "--out", tmp_path / "run"]
    write = state.save_checkpoint

    def cut(path: Path, checkpoint: Checkpoint) -> None:
        write(path, checkpoint)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "save_checkpoint", cut)
        assert command(*words).status == 130
    resumed = command(*words)
    assert resumed.status == 0, resumed.err
    assert "resuming from step" in resumed.err
    ends = [torch.load(folder / "last.pth", weights_only=True)["model"] for folder in (related, tmp_path / "run")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_boxes_are_drawn_for_a_run_and_on_its_report(
    command: Call, boxed: Path, related: Path, run: Path, kitchens: Path, tmp_path: Path
) -> None:
    words = ("bench", "boxes", related, "--count", 3, "--data", boxed, "--out", tmp_path / "seen")
    done = command(*words)
    assert done.status == 0, done.err
    sheet = cv2.imread(str(tmp_path / "seen" / "boxes.png"))
    height = sheet.shape[0] // 3
    assert sheet.shape == (3 * height, 4 * SIDE, 3)  # a row per segment, a picture per slice
    drawn = {tuple(pixel) for pixel in sheet[:SIDE, :, ::-1].reshape(-1, 3).tolist()}
    assert {COLOURS[1], COLOURS[3]} & drawn  # a right hand, or what it holds
    with av.open(str(tmp_path / "seen" / "boxes.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 3 * 8
    named = command(*words[:3], "--segment", "P99_01_0", "--data", boxed)
    assert named.status == 2
    assert "has no P99_01_0: name segments of it" in named.err
    without = command("bench", "boxes", run, "--data", kitchens)
    assert without.status == 2
    assert "was trained without data.boxes" in without.err
    report = command("validate", related, "--data", boxed, "--report", tmp_path / "report")
    assert report.status == 0, report.err
    page = (tmp_path / "report" / "index.html").read_text()
    first = base64.b64decode(re.search(r'"data:image/jpeg;base64,([^"]+)"', page)[1])
    picture = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (height, SIDE, 3)
