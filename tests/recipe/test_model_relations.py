"""`model.relations` with what it does not fit is refused by name."""

from pathlib import Path

import pytest

from epicsub.errors import RecipeError
from epicsub.recipe import load_recipe

RECIPE = Path(__file__).parents[2] / "recipes" / "tiny" / "i3d_r50_relations.yaml"
VIDEO_NETWORK = ["model.name=r2plus1d"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.boxes=null"], "data.boxes: missing, model.relations reads them: write {slices: 4}"),
        (["data.frames=16"], "data.boxes.slices: is 4, but the map of i3d_r50 has 8 times for 16 frames: write that"),
        (["model.relations.stream=flow"], "model.relations.stream: is flow, but data.modalities is [rgb]"),
        (
            VIDEO_NETWORK,
            "model.relations: is set, but r2plus1d has no map of features for it: leave it out, or take i3d",
        ),
        (
            ["model.relations.head=acrn", "model.relations.hidden=256"],
            "is acrn, which is made for slowfast, not for i3d",
        ),
        (
            ["model.name=slowfast", "model.relations.head=acrn", "data.boxes.slices=2"],
            "model.relations.hidden: is 32, but acrn has the map's channels: leave it out",
        ),
    ],
)
def test_what_does_not_fit_is_named(changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe(RECIPE, changes)
    assert message in str(refused.value)
