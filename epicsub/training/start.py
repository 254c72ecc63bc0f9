"""A run that begins with its second stage, from the end of another run's first: one shared start for several methods.

What starts is what the first stage would have left here: the model's weights and their state in the optimiser. The
adaptation method and its optimiser begin as they do in a run whose first stage has no target.
"""

from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from epicsub.errors import EpicsubError, TrainingError
from epicsub.io import user_path
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe import LoadedRecipe, Recipe, recipe_from_dict
from epicsub.training.checkpoint import Checkpoint, differences, load_checkpoint

FREE = ("data.root", "data.target", "data.workers", "data.store", "data.decoder", "data.skip")
"""Settings of `data` that may differ: the first stage reads no target, and by the others the same clips."""


def start_of(recipe: Recipe) -> Checkpoint | None:
    """Read the checkpoint that a recipe starts from.

    Args:
        recipe: with `train.start`.

    Returns:
        The checkpoint, None where the recipe trains all its stages.

    Raises:
        TrainingError: there is no such checkpoint, or it is no end of this recipe's first stage; all differences named.
    """
    if recipe.train.start is None:
        return None
    path = user_path(recipe.train.start)
    checkpoint = load_checkpoint(path)
    first = recipe.train.stages[0]
    problems = []
    if checkpoint.step != first.length:
        problems.append(f"  it is of step {checkpoint.step}, the first stage ends at step {first.length}")
    before, now = (_first_stage(one) for one in (recipe_from_dict(checkpoint.recipe, str(path)), recipe))
    problems += [
        f"  {key}: {other!r} there, {own!r} here"
        for key, (other, own) in differences(before, now).items()
        if key not in FREE
    ]
    if problems:
        raise TrainingError(
            f"{path}: is not the end of this recipe's first stage:\n"
            + "\n".join(problems)
            + "\nA run keeps the end of its first stage as stage_1.pth"
        )
    return checkpoint


def start_problems(loaded: LoadedRecipe) -> list[str]:
    """List what is wrong with the checkpoint that a recipe starts from.

    Args:
        loaded: the recipe.

    Returns:
        One problem, or none.
    """
    try:
        start_of(loaded.recipe)
    except EpicsubError as error:
        return [f"{loaded.where('train.start')}  train.start: {error}"]
    return []


def load_start(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a model the weights of a shared start.

    A second classifier that the start does not have begins at the first one's weights, moved by its own random ones:
    trained as far, and another.

    Args:
        model: of the recipe, with random weights.
        checkpoint: of `start_of`.
    """
    weights = checkpoint.training.get("model", checkpoint.model)
    if not isinstance(model, TwoClassifiers) or any(name.startswith("second.") for name in weights):
        model.load_state_dict(weights)
        return
    model.first.load_state_dict(weights)
    trained = TwoClassifiers.head_parameters(model.first)
    with torch.no_grad():
        for own, first in zip(TwoClassifiers.head_parameters(model.second), trained, strict=True):
            own.add_(first)


def load_start_optimizer(optimizer: Optimizer, model: nn.Module, checkpoint: Checkpoint) -> None:
    """Give the optimiser what a shared start's knew of the model's parameters, which come first in both.

    Args:
        optimizer: of the recipe.
        model: whose parameters it steps.
        checkpoint: of `start_of`.
    """
    known: dict[int, Any] = checkpoint.training["optimizer"]["state"]
    count = len(list(model.first.parameters() if isinstance(model, TwoClassifiers) else model.parameters()))
    fresh = optimizer.state_dict()
    fresh["state"] = {place: state for place, state in known.items() if place < count}
    optimizer.load_state_dict(fresh)


def _first_stage(recipe: Recipe) -> dict[str, Any]:
    """What the end of the first stage depends on."""
    whole = recipe.model_dump(mode="json")
    train = whole["train"]
    kept = ("optimizer", "losses", "sampling", "mixing", "parts", "layer_decay", "rate_batch", "accumulate")
    return {
        "seed": recipe.seed,
        "data": whole["data"],
        "model": whole["model"],
        "classes": whole["classes"],
        "pretext": whole["pretext"],
        "train": {"stages": [train["stages"][0]], **{key: train[key] for key in kept}},
    }
