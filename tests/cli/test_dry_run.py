"""Every recipe of recipes/ passes `--dry-run` as it stands, on real clips and weight files of the published shapes."""

import re
from pathlib import Path

import pytest
import torch

from epicsub.recipe import Recipe, load_recipe
from tests.cli.recipe_files import hollow, make_root, make_weights, published

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(str(path.relative_to(RECIPES)) for path in RECIPES.rglob("*.yaml") if "order" not in path.stem)
COUNTED = [
    r"parameters: [\d.]+ million, [\d.]+ million trained from the first step",
    r"weights, gradients and optimiser: [\d.]+ GiB",
    r"clips per step: \w+ \(\d+, .*\); one is read and cut in [\d.]+ s",
    r"kept for the backward pass: at most [\d.]+ GiB",
    r"operations per step: [\d.]+ .FLOP",
    r"stage 1: \d+ steps, \d+ labelled clips, [\d.]+ times each segment(, \d+ unlabelled)?; at least [\d.]+ s per step",
    r"no step was tried: \d+ GFLOP/s",
    r"more than [\d.]+ (hours|minutes) in total on this machine, without evaluations; nothing was written",
]
PUBLISHED = {  # million parameters of the network with Kinetics' or ImageNet's classes, as its authors or library say
    "slowfast.yaml": 34.6,
    "x3d.yaml": 3.8,
    "i3d_r50.yaml": 28.0,
    "r2plus1d.yaml": 31.5,
    "mvit_v2.yaml": 34.5,
    "video_swin.yaml": 28.2,
    "timesformer.yaml": 121.6,
    "videomae.yaml": 86.5,
    "frame_mean.yaml": 28.6,
}


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return {name: load_recipe(RECIPES / name).recipe for name in NAMES}


@pytest.fixture(scope="module")
def root(kitchens: Path, boxed: Path, recipes, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("for_recipes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)  # protocols are named from there
        make_root(folder, kitchens, list(recipes.values()))
    (folder / "boxes").symlink_to(boxed / "boxes")
    return folder


@pytest.fixture(scope="module")
def weights(recipes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    make_weights(folder, list(recipes.values()))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_passes_as_it_stands(command, root, weights, recipes, work, monkeypatch, name: str) -> None:
    """No step is tried, for some take a minute here: test_training_methods.py has one that is."""
    monkeypatch.setenv("EPICSUB_WEIGHTS", str(weights))
    monkeypatch.setattr("epicsub.training.dry_run.TRIED_STEP", 0.0)
    before = sorted((work / "outputs").rglob("*")) if (work / "outputs").exists() else []
    # its epochs are as few steps here as these segments are fewer
    shorter = [f"train.stages.{n}.warmup_steps=1" for n in (0, 1)] if "_long" in name else []
    done = command("train", f"recipes/{name}", *shorter, "--dry-run", "--data", root, "--out", "outputs/dry")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    for expected in COUNTED:
        assert sum(bool(re.match(expected, line)) for line in lines) == 1, (expected, done.out)
    stage, data = recipes[name].train.stages[0], recipes[name].data
    for modality in data.modalities:
        pixels = f", {data.frames}, {data.size}, {data.size}" if data.features is None else ""
        assert re.search(rf"{modality} \({stage.source_batch}, \d+{pixels}", done.out), done.out
    if "mmir_d2_d1" in name:  # four agents of 5 * 1024 -> 1024 -> 512 -> 5, their copies, two discriminators
        agents = 4 * ((5120 + 1) * 1024 + (1024 + 1) * 512 + (512 + 1) * 5)
        discriminators = 2 * (1025 * 128 + 129)
        own = f"mmir: {(2 * agents + discriminators) / 1e6:.2f} million parameters of its own"
        assert f"{own}, {(agents + discriminators) / 1e6:.2f} million trained; 0.38 GiB" in done.out
    if name == "mmir_i3d.yaml":  # 80 clips of 125.66 MiB of places of max pooling (tests/training/test_pieces.py)
        assert "in bf16-mixed (9.82 GiB are whole numbers, which do not halve)" in done.out
    if name in PUBLISHED:
        counted = float(re.search(r"parameters: ([\d.]+)", done.out)[1])
        assert counted == pytest.approx(PUBLISHED[name], rel=0.03)
    after = sorted((work / "outputs").rglob("*")) if (work / "outputs").exists() else []
    assert after == before


def test_weights_that_are_missing_or_do_not_fit_are_refused(command, root, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EPICSUB_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("epicsub.io.network.why_unreachable", lambda _: "no answer within 3 s")
    words = ("train", "recipes/r2plus1d.yaml", "--dry-run", "--data", root, "--out", "outputs/dry")
    missing = command(*words)
    assert missing.status == 2
    assert "r2plus1d_18-91a641e6.pth" in missing.err
    tensors = hollow(published("r2plus1d_18_kinetics"))
    del tensors["layer4.1.conv2.1.weight"]
    torch.save(tensors, tmp_path / "r2plus1d_18-91a641e6.pth")
    other = command(*words)
    assert other.status == 2, other.out
    assert "missing (1): layer4.1.conv2.1.weight" in other.err
