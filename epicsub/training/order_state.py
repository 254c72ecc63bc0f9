"""What changes during a pre-training by order: one step of it, and one check.

Shapes: B clips, C channels, R frames read, S pixels of the side, N permutations, G groups, V items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from epicsub.data.batch import ClipBatch
from epicsub.modality import MODALITIES
from epicsub.models.streams import TwoStream
from epicsub.pretext.network import OrderNetwork
from epicsub.pretext.order import (
    OrderDraw,
    OrderTask,
    TaskName,
    draw_labels,
    draw_orders,
    make_task,
    order_loss,
    shuffled_pieces,
)
from epicsub.pretext.policy import Chooser, PolicySettings, class_probabilities
from epicsub.pretext.shuffle import ShuffleSettings
from epicsub.recipe import Recipe
from epicsub.recipe.pretext import Pretext
from epicsub.training.build import model_of, optimizer_of
from epicsub.training.checkpoint import Checkpoint
from epicsub.training.device import use_fast_kernels
from epicsub.training.order_items import Items
from epicsub.training.provenance import initial_provenance
from epicsub.training.step import seed_step
from epicsub.training.update import Stepped, set_rate, update_weights


@dataclass(kw_only=True)
class OrderState(Stepped):
    """Everything that changes during a pre-training."""

    tasks: list[OrderTask]
    choosers: dict[str, Chooser]
    """By task."""


def shuffle_of(recipe: Recipe) -> ShuffleSettings:
    """Say how clips are cut.

    Args:
        recipe: with `pretext`.

    Returns:
        The settings of the shuffling.
    """
    pretext, frames = pretext_of(recipe), recipe.data.video().frames
    return ShuffleSettings(
        frames=frames,
        gap=(pretext.gap[0], pretext.gap[1]),
        shift=pretext.shift,
        one_channel=pretext.one_channel,
        grid=pretext.grid,
        tile=pretext.tile,
        same_spread=pretext.same_spread,
    )


def tasks_of(recipe: Recipe) -> list[OrderTask]:
    """Make the permutations that a recipe shuffles by; its seed decides on them.

    Args:
        recipe: with `pretext`.

    Returns:
        Temporal before spatial.
    """
    pretext = pretext_of(recipe)
    names: tuple[TaskName, ...] = ("temporal", "spatial") if pretext.tasks == "both" else (pretext.tasks,)
    count = pretext.permutations or 0
    return [make_task(name, pretext.grid, count, pretext.groups, pretext.grouping, recipe.seed) for name in names]


def build_order_state(recipe: Recipe, fabric: Fabric, resumed: Checkpoint | None) -> OrderState:
    """Build network, policies and optimiser on the device.

    Args:
        recipe: with `pretext`.
        fabric: with the device.
        resumed: checkpoint to go on from, or None to start.

    Returns:
        The state at the checkpoint's step, or at step 0.

    Raises:
        ModelError: initial weights are not there or do not fit.
    """
    pretext, tasks = pretext_of(recipe), tasks_of(recipe)
    torch.manual_seed(recipe.seed)
    model = model_of(recipe, weights=resumed is None)
    torch.manual_seed(recipe.seed + 1)
    network = OrderNetwork(cast("TwoStream", model), tasks, pretext.head)
    fused = recipe.train.precision != "16-mixed"
    optimizer = optimizer_of(recipe, network.trained_parameters(), fused)
    settings = PolicySettings(
        policy=pretext.policy, credit=pretext.credit, baseline=pretext.baseline, negated=pretext.negated
    )
    choosers: dict[str, Chooser] = {
        task.name: Chooser(task.groups, pretext.choice, settings, recipe.seed * 10 + number)
        for number, task in enumerate(tasks)
    }
    if resumed:
        network.load_state_dict(resumed.model)
        for name, chooser in choosers.items():
            chooser.load_state_dict(resumed.training["choosers"][name])
    fabric.to_device(network)
    use_fast_kernels(network, fabric.device)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    if resumed:
        optimizer.load_state_dict(resumed.training["optimizer"])
    return OrderState(
        model=wrapped,
        optimizer=wrapped_optimizer,
        step=resumed.step if resumed else 0,
        tasks=tasks,
        choosers=choosers,
        initial=resumed.initial if resumed else initial_provenance(recipe),
    )


def order_step(
    fabric: Fabric, recipe: Recipe, state: OrderState, batch: ClipBatch, rate: float
) -> dict[str, Tensor | float]:
    """Take one optimiser step: each task shuffles its share of the clips.

    Args:
        fabric: with the device.
        recipe: with `pretext`.
        state: is changed, but for its number of steps.
        batch: unlabelled clips on the device.
        rate: learning rate.

    Returns:
        Metrics of this batch to log.

    Raises:
        NotFiniteError: as of `update_weights`.
    """
    state.watch.begin(state.model.module, {"clips": batch.narration_ids}, state.step + 1)
    generator = seed_step(recipe.seed, state.step)
    set_rate(state, rate)
    shuffle, count = shuffle_of(recipe), len(batch.narration_ids)
    ends = [count * number // len(state.tasks) for number in range(len(state.tasks) + 1)]
    losses, metrics = [], cast("dict[str, Tensor | float]", {"learning_rate": rate})
    for task, first, end in zip(state.tasks, ends[:-1], ends[1:], strict=True):
        chooser, part = state.choosers[task.name], batch.rows(slice(first, end))
        label_B, drawn_G = draw_labels(task, end - first, chooser.weight_G, generator)
        chooser.count(drawn_G)
        draw = draw_orders(task, label_B, shuffle, generator)
        logits = state.model(task.name, pieces_of(task, part.clips, draw, shuffle), _side(part.clips))
        probability_N = class_probabilities(task.group_N, chooser.weight_G)
        label_B = label_B.to(fabric.device)
        parts = [order_loss(logits_BN, label_B, probability_N) for logits_BN in logits.values()]
        losses.append(torch.stack(parts).sum())
        metrics[f"{task.name}/loss"] = losses[-1].detach()
    loss = torch.stack(losses).sum()
    fabric.backward(loss)
    update_weights(fabric, recipe, state, loss)
    return metrics


def pieces_of(
    task: OrderTask, clips: Mapping[str, Tensor], draw: OrderDraw, shuffle: ShuffleSettings
) -> dict[str, Tensor]:
    """Shuffle the clips of all modalities by one draw.

    Args:
        task: temporal or spatial.
        clips: (B, C, R, S, S) by modality.
        draw: of the task.
        shuffle: how clips are cut.

    Returns:
        (B, n, C, T, H, W) by modality.
    """
    return {
        name: shuffled_pieces(task, clip_BCRSS, draw, shuffle, MODALITIES[name].is_color)
        for name, clip_BCRSS in clips.items()
    }


@torch.no_grad()
def check(fabric: Fabric, recipe: Recipe, state: OrderState, items: Items) -> dict[str, tuple[float, list[float]]]:
    """Count the wrong answers on the fixed items, in evaluation mode: no statistic of the network changes.

    Args:
        fabric: with the device.
        recipe: with `pretext`.
        state: with the network.
        items: of the held-out videos.

    Returns:
        By task, the share of wrong answers: of all items, and of each group's.
    """
    state.model.eval()
    shuffle, size = shuffle_of(recipe), recipe.evaluation.batch_size
    found: dict[str, tuple[float, list[float]]] = {}
    for task in state.tasks:
        draw, wrong = items.draws[task.name], []
        for first in range(0, len(draw.label_B), size):
            chosen = slice(first, first + size)
            clips = {name: fabric.to_device(clip[chosen]) for name, clip in items.clips.items()}
            part = draw.rows(chosen)
            logits = state.model(task.name, pieces_of(task, clips, part, shuffle), _side(clips))
            answers = torch.stack([logits_BN.argmax(dim=1) for logits_BN in logits.values()]).cpu()
            wrong.append((answers != part.label_B).float().mean(dim=0))
        wrong_V, group_V = torch.cat(wrong), task.group_N[draw.label_B]
        by_group = [float(wrong_V[group_V == group].mean()) for group in range(task.groups)]
        found[task.name] = (float(wrong_V.mean()), by_group)
    return found


def _side(clips: Mapping[str, Tensor]) -> int:
    """Pixels of the clips' side."""
    return int(next(iter(clips.values())).shape[-1])


def pretext_of(recipe: Recipe) -> Pretext:
    """Give the section that the recipe of a pre-training has.

    Args:
        recipe: with `pretext`.

    Returns:
        The section.
    """
    assert recipe.pretext is not None, "train and pretrain refuse each other's recipes"
    return recipe.pretext
