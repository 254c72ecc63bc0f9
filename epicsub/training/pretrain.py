"""Pre-training by order: the loop, its checks on held-out videos, its checkpoints, and the weights that it leaves.

Everything a step draws depends on the seed and the step, and on the policy, which is in the checkpoint: a run that was
killed and resumed ends where the uninterrupted one does.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric

from epicsub.data.batch import ClipBatch
from epicsub.pretext.network import OrderNetwork
from epicsub.progress import note_kept, track
from epicsub.recipe import Recipe
from epicsub.training.build import scheduled_rate
from epicsub.training.checkpoint import Checkpoint, save_checkpoint
from epicsub.training.device import copied_ahead, deterministic_kernels, log_determinism
from epicsub.training.loaders import Domains
from epicsub.training.loop import is_scheduled
from epicsub.training.order_items import HeldOut, Items, hold_out, order_loader, read_items
from epicsub.training.order_state import OrderState, build_order_state, check, order_step, pretext_of, shuffle_of
from epicsub.training.processes import make_fabric
from epicsub.training.provenance import provenance_of, write_trunk
from epicsub.training.run_folder import RunLog
from epicsub.training.state import checkpoint_of, total_steps

Read = tuple[int, int, ClipBatch]
PHASE = 13  # of the seed: what a phase's action is drawn by
WEIGHTS = "weights"


def pretrain(recipe: Recipe, domains: Domains, folder: Path, resumed: Checkpoint | None) -> list[Path]:
    """Pre-train a recipe, from its start or from a checkpoint.

    Args:
        recipe: with `pretext`.
        domains: unlabelled segments of all lists, as target.
        folder: the run's; `last.pth`, `metrics.jsonl`, `tensorboard/` and `weights/` are written into it.
        resumed: checkpoint to go on from, or None to start.

    Returns:
        Files of weights, one per modality.

    Raises:
        NotFiniteError: a loss is not finite; the message names the step and the narration ids.
        DataError: a segment cannot be decoded; the message names it.
    """
    with deterministic_kernels(recipe):
        return _pretrain(recipe, domains, folder, resumed)


def _pretrain(recipe: Recipe, domains: Domains, folder: Path, resumed: Checkpoint | None) -> list[Path]:
    pretext, total = pretext_of(recipe), total_steps(recipe)
    fabric = make_fabric(recipe.train, alone=True)
    fabric.launch()
    log_determinism(fabric.device, recipe.train.deterministic)
    held = hold_out(domains.target, pretext.held_out)
    state = build_order_state(recipe, fabric, resumed)
    if state.step < total:
        items = read_items(recipe, domains, held, state.tasks, shuffle_of(recipe))
        log = RunLog(folder, state.step)
        if state.step == 0:
            _check_and_begin(fabric, recipe, state, items, log)
        steps = copied_ahead(_remaining(recipe, domains, held, state.step), _moved(fabric), fabric.device)
        for stage, step, batch in track(steps, recipe.name, total, state.step):
            state.model.train()
            rate = scheduled_rate(recipe.train.stages[stage], step)
            metrics = order_step(fabric, recipe, state, batch, rate)
            state.step += 1
            last = state.step == total
            saves = is_scheduled(recipe.train.checkpoint_every, state.step, total)
            logs, ends = state.step % recipe.train.log_every == 0 or last, state.step % pretext.phase == 0 or last
            if logs or saves or ends:
                state.watch.read(state.model.module)
            if logs:
                log.write("train", state.step, {name: float(value) for name, value in metrics.items()}, stage=stage + 1)
            if ends:
                _check_and_begin(fabric, recipe, state, items, log)
            if saves:
                save_checkpoint(folder / "last.pth", _checkpoint_of(recipe, domains, state))
                note_kept(f"checkpoint of step {state.step}")
        log.close()
    return _write_weights(recipe, domains, state, folder)


def _remaining(recipe: Recipe, domains: Domains, held: HeldOut, done: int) -> Iterator[Read]:
    """Yield (stage, step within it, batch) for every step still to do."""
    for index, stage in enumerate(recipe.train.stages):
        first = min(done, stage.length)
        done -= first
        if first < stage.length:
            for step, batch in enumerate(order_loader(recipe, domains, held, index, first), start=first):
                yield index, step, batch


def _moved(fabric: Fabric) -> Callable[[Read], Read]:
    """What moves a step's clips to the device."""
    return lambda read: (*read[:2], fabric.to_device(read[2]))


def _check_and_begin(fabric: Fabric, recipe: Recipe, state: OrderState, items: Items, log: RunLog) -> None:
    """Check, let the policies learn, log, and begin the next phase."""
    phase, progress = state.step // pretext_of(recipe).phase, state.step / total_steps(recipe)
    metrics: dict[str, float] = {}
    for number, (name, (error, error_G)) in enumerate(check(fabric, recipe, state, items).items()):
        chooser = state.choosers[name]
        if chooser.action is not None:
            metrics[f"{name}/group"] = chooser.action
        metrics[f"{name}/error"] = error
        metrics |= {f"{name}/error_{group}": value for group, value in enumerate(error_G)}
        metrics |= {f"{name}/{what}": value for what, value in chooser.end(error, error_G).items()}
        own = (recipe.seed * 1_000_003 + phase) * 4 + number
        chooser.begin(progress, torch.Generator().manual_seed(own * 16 + PHASE))
    log.write("order", state.step, metrics)


def _checkpoint_of(recipe: Recipe, domains: Domains, state: OrderState) -> Checkpoint:
    """What a checkpoint holds of a pre-training."""
    choosers = {name: chooser.state_dict() for name, chooser in state.choosers.items()}
    training = {"optimizer": state.optimizer.state_dict(), "choosers": choosers}
    return checkpoint_of(recipe, domains, state, state.model, training)


def _write_weights(recipe: Recipe, domains: Domains, state: OrderState, folder: Path) -> list[Path]:
    """Write the trunk of each stream, without heads, with what it has seen."""
    videos = [segment.video_id for segment in domains.target_segments]
    provenance = provenance_of(recipe, domains.lists, videos, state.initial)
    network, paths = cast("OrderNetwork", state.model.module), []
    for modality in recipe.data.modalities:
        path = folder / WEIGHTS / f"{modality}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trunk(path, network.weights_of(modality), provenance | {"modality": modality})
        paths.append(path)
    return paths
