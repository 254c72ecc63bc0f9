"""What must hold before a pre-training starts, beyond what holds for all runs."""

from typing import cast

import torch

from epicsub.data.annotations import Segment
from epicsub.errors import EpicsubError, TrainingError
from epicsub.modality import MODALITIES
from epicsub.models.streams import TwoStream
from epicsub.pretext.network import OrderNetwork
from epicsub.recipe import LoadedRecipe
from epicsub.training.build import model_of
from epicsub.training.order_items import hold_out
from epicsub.training.order_state import tasks_of


def pretext_problems(loaded: LoadedRecipe, lists: list[list[Segment]]) -> list[str]:
    """List what is wrong with a pre-training's lists, batches and pieces.

    Args:
        loaded: the recipe; one without `pretext` has no such problems.
        lists: unlabelled segments of each list.

    Returns:
        A line each.
    """
    recipe = loaded.recipe
    if recipe.pretext is None or not lists:
        return []
    problems = _piece_problems(loaded)
    try:
        held = hold_out(lists, recipe.pretext.held_out)
    except TrainingError as error:
        return [*problems, f"{loaded.where('pretext.held_out')}  pretext.held_out: {error}"]
    segments = sum(map(len, held.train))
    for index, stage in enumerate(recipe.train.stages):
        if stage.source_batch > segments:
            key = f"train.stages.{index}.source_batch"
            text = f"{stage.source_batch} clips per step, but the lists have {segments} without the held-out videos"
            problems.append(f"{loaded.where(key)}  {key}: {text}")
    return problems


def _piece_problems(loaded: LoadedRecipe) -> list[str]:
    """Check that the network takes its pieces; without memory or weights, so a second at the most."""
    recipe = loaded.recipe
    assert recipe.pretext is not None
    cut, tasks = recipe.data.video(), tasks_of(recipe)
    try:
        with torch.device("meta"):
            model = cast("TwoStream", model_of(recipe, weights=False))
            network = OrderNetwork(model, tasks, recipe.pretext.head)
            for task in tasks:
                pieces, grid = task.orders_Nn.shape[1], recipe.pretext.grid
                whole = task.name == "temporal"
                shape = (cut.frames // pieces, cut.size) if whole else (cut.frames, cut.size // grid)
                clips = {
                    name: torch.zeros(2, pieces, MODALITIES[name].channels, shape[0], shape[1], shape[1])
                    for name in recipe.data.modalities
                }
                network(task.name, clips, cut.size)
    except EpicsubError as error:
        return [f"{loaded.where('pretext')}  pretext: {error}"]
    except (RuntimeError, AssertionError, ValueError, NotImplementedError, TypeError):
        return [
            f"{loaded.where('pretext.head')}  pretext.head: {recipe.pretext.head}, but {recipe.model.name} does not "
            f"take the pieces of clips of {cut.frames} frames and {cut.size} pixels: write joint, a larger data.size, "
            "or a backbone for any size"
        ]
    return []
