"""Every recipe of recipes/tiny trains ten steps, is scored, and predicts, whatever it reads and adapts by."""

from pathlib import Path

import pytest
import torch

from epicsub.predictions import read_predictions
from epicsub.recipe import Recipe, load_recipe
from tests.cli.conftest import Call

pytestmark = pytest.mark.xdist_group("cli")  # one worker makes the kitchens and the run for all

TINY = Path(__file__).parents[2] / "recipes" / "tiny"
PATHS = {path.stem: path for path in sorted(TINY.glob("*.yaml")) if "order" not in path.stem}  # see test_pretrain.py
VIEWS = {"source_only": "1x1", "source_only_5": "5x1"}  # of the features that tiny recipes name, by their folder's name


@pytest.fixture(scope="module")
def features(command: Call, kitchens: Path, run: Path) -> str:
    """A folder under the data root, with features of the short run: of one view, and of five."""
    for name, views in VIEWS.items():
        out = kitchens / "features" / "ten" / name
        made = command("data", "features", run, "--tta", views, "--data", kitchens, "-o", out)
        assert made.status == 0, made.err
    return "features/ten"


def ten_steps(recipe: Recipe, features: str) -> list[str]:
    """Overrides: ten steps over all stages, on few and small clips."""
    stages = recipe.train.stages
    words = ["train.log_every=5", "train.checkpoint_every=10", "evaluation.batch_size=12"]
    for number, stage in enumerate(stages):
        key = f"train.stages.{number}"
        words += [f"{key}.steps={10 // len(stages)}", f"{key}.source_batch=5"]
        words += [f"{key}.target_batch=5"] if stage.target_batch else []
        words += [f"{key}.warmup_steps=2"] if stage.warmup_steps else []
    if recipe.data.features:
        folders = {name: f"{features}/{Path(place).name}" for name, place in recipe.data.features.items()}
        return [*words, f"data.features={folders}", "model.dims={rgb: 64, flow: 64}"]
    if recipe.model.name == "i3d":
        words += ["model.width=0.0625", "data.frames=9", "data.size=32", "data.short_side=36"]
        words += ["data.boxes.slices=3"] if recipe.data.boxes else []
    if recipe.model.name == "r2plus1d":  # it comes in one width, which is slow here
        words += ["data.frames=4"]
    return [*words, "data.workers=0"]


@pytest.mark.parametrize("name", PATHS)
def test_ten_steps_scores_and_predictions(
    command: Call, kitchens: Path, boxed: Path, features: str, work: Path, name: str
) -> None:
    recipe, out = load_recipe(PATHS[name]).recipe, f"outputs/ten_{name}"
    data = ("--data", boxed if getattr(recipe.data, "boxes", None) else kitchens)
    trained = command("train", f"recipes/tiny/{name}.yaml", *ten_steps(recipe, features), *data, "--out", out)
    assert trained.status == 0, trained.err
    assert torch.load(work / out / "last.pth", weights_only=True)["step"] == 10
    scored = command("validate", out, "--protocol", "small.yaml", *data)
    assert scored.status == 0, scored.err
    assert scored.out.startswith("coverage: 24 of 24 segments"), scored.out
    path = work / out / "test.npz"
    made = command("predict", out, "--split", "test", "-o", path, "--protocol", "small.yaml", *data)
    assert made.status == 0, made.err
    assert len(read_predictions(path)) == 20
