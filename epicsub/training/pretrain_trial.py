"""An estimate of a pre-training before it starts (`--dry-run`): parameters, memory of items, hours with checks.

A few steps are taken on the recipe's own batches. Nothing is written.
"""

import time
from collections.abc import Iterator, Mapping
from itertools import islice

import torch
from lightning_fabric import Fabric

from epicsub.modality import MODALITIES
from epicsub.recipe import Recipe
from epicsub.training import dry_run as trial
from epicsub.training.count import STEP_OVER_FORWARD, clip_work, weightless_model
from epicsub.training.find import GIGA
from epicsub.training.loaders import Domains
from epicsub.training.order_items import HeldOut, Items, hold_out, order_loader, read_items
from epicsub.training.order_state import OrderState, build_order_state, check, order_step, shuffle_of
from epicsub.training.processes import make_fabric
from epicsub.training.state import total_steps

STEPS = 3  # timed, after a first one that opens videos and tunes kernels


def dry_run(recipe: Recipe, domains: Domains) -> Iterator[str]:
    """Build everything, take a few steps and a small check, and estimate the whole run.

    Args:
        recipe: with `pretext`.
        domains: unlabelled segments of all lists, as target.

    Yields:
        Lines: parameters, permutations, items, seconds of a step and of a check, hours; where a step is long on this
            CPU, none is taken and the hours are a lower bound.
    """
    assert recipe.pretext is not None
    fabric = make_fabric(recipe.train, alone=True)
    state, held = build_order_state(recipe, fabric, None), hold_out(domains.target, recipe.pretext.held_out)
    trained = sum(parameter.numel() for group in state.optimizer.param_groups for parameter in group["params"])
    heads = sum(parameter.numel() for parameter in state.model.module.heads.parameters())
    yield f"device: {fabric.device}, precision {recipe.train.precision}"
    yield f"parameters: {trained / 1e6:.2f} million trained, {heads / 1e6:.2f} million of them in dropped heads"
    for task in state.tasks:
        sizes = ", ".join(map(str, task.group_N.bincount(minlength=task.groups).tolist()))
        yield f"{task.name}: {len(task.orders_Nn)} permutations in {task.groups} groups of {sizes}"
    total, phase = total_steps(recipe), recipe.pretext.phase
    if fabric.device.type == "cpu" and (least := _least_seconds(recipe)) > trial.TRIED_STEP:
        yield f"at least {least:.1f} s per step; no step was tried, since that is long: ask again where it will run"
        yield f"more than {trial.format_hours(total * least / 3600)} in total on this machine; nothing was written"
        return
    small = recipe.model_copy(update={"data": recipe.data.model_copy(update={"workers": 0})})
    few = min(recipe.pretext.items, recipe.evaluation.batch_size)
    one = small.model_copy(update={"pretext": recipe.pretext.model_copy(update={"items": few})})
    items = read_items(one, domains, held, state.tasks, shuffle_of(recipe))
    whole = sum(clip[0].numel() for clip in items.clips.values()) * recipe.pretext.items
    yield f"fixed items: {recipe.pretext.items} clips, {whole / GIGA:.2f} GiB of this machine's memory"
    seconds = _step_seconds(fabric, small, domains, state, held)
    of_check = _check_seconds(fabric, recipe, state, items) * recipe.pretext.items / few
    yield f"{seconds:.2f} s per step; {of_check:.1f} s per check, every {phase} steps"
    yield f"checks take {100 * of_check / (phase * seconds):.0f} % on top of the steps"
    hours = (total * seconds + (total / phase + 1) * of_check) / 3600
    spent = trial.format_hours(hours)
    yield f"{total} steps: {spent} in total on this machine, with clips read in one process; nothing was written"


def _least_seconds(recipe: Recipe) -> float:
    """Seconds of a step by its arithmetic alone, of clips that are not cut into pieces."""
    cut = recipe.data.video()
    clips: Mapping[str, torch.Tensor] = {
        name: torch.empty(1, MODALITIES[name].channels, cut.frames, cut.size, cut.size, device="meta")
        for name in recipe.data.modalities
    }
    size = max(stage.source_batch for stage in recipe.train.stages)
    operations = clip_work(weightless_model(recipe, []), clips).operations
    return STEP_OVER_FORWARD * size * operations / trial.cpu_speed()


def _step_seconds(fabric: Fabric, recipe: Recipe, domains: Domains, state: OrderState, held: HeldOut) -> float:
    """Mean seconds of a step, with its clips read in this process."""
    batches = islice(order_loader(recipe, domains, held, 0, 0), 1 + STEPS)
    began, done = time.perf_counter(), 0
    for number, batch in enumerate(batches):
        order_step(fabric, recipe, state, fabric.to_device(batch), 1e-6)
        float(next(state.model.parameters()).detach().flatten()[0])  # waits for the device
        if number == 0:
            began = time.perf_counter()
        else:
            done += 1
    return (time.perf_counter() - began) / max(done, 1)


def _check_seconds(fabric: Fabric, recipe: Recipe, state: OrderState, items: Items) -> float:
    """Seconds of a check on a few items."""
    began = time.perf_counter()
    check(fabric, recipe, state, items)
    return time.perf_counter() - began
