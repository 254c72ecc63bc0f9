"""The training loop: stages, steps, evaluations and checkpoints of one run.

One run is a list of stages (MMIR, arXiv 2311.14281, section 3.4: stage 1 classifies, Eq 11; stage 2 classifies, aligns
and refines, Eq 12). Everything a step draws depends on the recipe's seed and the step alone, so a run that was killed
and resumed ends where the uninterrupted one does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.batch import Batch
from epicsub.data.prepared.index import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.progress import track
from epicsub.recipe import Recipe, Stage
from epicsub.training.averaging import refresh_batch_norms
from epicsub.training.build import (
    adaptation_of,
    agent_optimizer_of,
    model_of,
    optimizer_of,
    training_loader,
)
from epicsub.training.checkpoint import Checkpoint, save_checkpoint, source_commit
from epicsub.training.distill import Teacher, reading
from epicsub.training.final_mean import FinalMean
from epicsub.training.layers import checkpoint_layers, freeze
from epicsub.training.logging import RunLog
from epicsub.training.method_updates import after_training, as_if_finished, later_updates
from epicsub.training.methods import action_table, average_of, criterion_of, parts_of, trained_parameters
from epicsub.training.photometric import augments_on_device, to_device
from epicsub.training.removals import RemovalLog
from epicsub.training.selection import Evaluated, Selection
from epicsub.training.step import State, train_step

Evaluate = Callable[[nn.Module], Evaluated]


@dataclass(frozen=True, kw_only=True)
class Domains:
    """What a run learns from. Target segments come without labels (data/domains.py)."""

    root: DataRoot
    source: list[Segment]
    target: list[list[Segment]]
    store: StoreChoice
    """Which modalities of all these segments are read from the prepared store."""
    lists: dict[str, str]
    """SHA-256 of each annotation list and of the teacher, by file name; of features, of what made them."""
    teacher: Teacher | None = None


def fit(recipe: Recipe, domains: Domains, folder: Path, evaluate: Evaluate | None, resumed: Checkpoint | None) -> Path:
    """Train a recipe, from its start or from a checkpoint, and return the path of the chosen checkpoint.

    Args:
        recipe: the resolved recipe.
        domains: labelled source segments and unlabelled target segments.
        folder: the run's folder; `last.pth`, `best.pth`, `metrics.jsonl` and `tensorboard/` are written into it.
        evaluate: model -> scores in percent, called every `train.evaluate_every` steps.
        resumed: where to go on, or None to start.

    Raises:
        TrainingError: a loss is not finite; the message names the step and the narration ids.
        DataError: a segment cannot be decoded; the message names it.
    """
    train = recipe.train
    fabric = Fabric(accelerator=train.accelerator, devices=train.devices, precision=train.precision)
    fabric.launch()
    state = set_up(recipe, domains, fabric, resumed)
    log = RunLog(folder, state.step) if fabric.is_global_zero else None
    removals = RemovalLog(folder, state.step) if log else None
    total = total_steps(recipe)
    steps = steps_from(recipe, domains, state, fabric)
    for step, stage, clips in track(steps, recipe.name, total, state.step) if log else steps:
        state.model.train()
        freeze(state.model.module, parts_of(recipe), state.step)
        batch = to_device(fabric, recipe, clips)
        figures = train_step(fabric, recipe, stage, state, batch, step)
        figures |= later_updates(fabric, recipe, stage, state, batch, step)
        state.step += 1
        if removals:
            removals.note(state.step, batch, state.removed)
        if state.average:
            state.average.update(state.model.module, state.step)
        regular, final = due(train.evaluate_every, state.step, total), state.last.due(state.step, total)
        evaluated = evaluate is not None and (regular or final)
        if evaluated or state.step == total:
            finish_average(recipe, domains, state, step[0], fabric)
        if state.step == total:
            after_training(fabric, recipe, domains.root, domains.target, domains.store, state)
        if log and (state.step % train.log_every == 0 or state.step == total):
            log.write("train", state.step, {name: float(value) for name, value in figures.items()}, stage=step[0] + 1)
        higher = False
        if evaluated and evaluate is not None:
            with as_if_finished(fabric, recipe, domains.root, domains.target, domains.store, state, total):
                higher = score(fabric, recipe, state, evaluate, log)
        state.stopped = evaluated and state.selection.tired(train.patience) and state.step < total
        kept = evaluated or due(train.checkpoint_every, state.step, total)
        if removals and (kept or state.step % train.log_every == 0):
            removals.flush()  # before the checkpoint, so that a resumed run lacks no step
        if log and kept:
            keep(recipe, domains, state, folder, higher)
        fabric.barrier()
        if state.stopped:
            break
    if log:
        log.close()
    return folder / chosen_file(recipe)


def set_up(recipe: Recipe, domains: Domains, fabric: Fabric, resumed: Checkpoint | None) -> State:
    """Build model, adaptation and optimisers, on the device, with the weights of the checkpoint if there is one."""
    torch.manual_seed(recipe.seed)
    model = model_of(recipe, resumed is None, action_table(recipe, domains.source))
    torch.manual_seed(recipe.seed + 1)  # the same discriminators whatever the model drew
    adaptation = adaptation_of(recipe, model)
    aligned = list(adaptation.alignment_parameters()) if adaptation else []
    optimizer = optimizer_of(recipe, trained_parameters(recipe, model, aligned))
    agent_optimizer = agent_optimizer_of(recipe, list(adaptation.agent_parameters()) if adaptation else [])
    state = State(
        model=model,
        adaptation=adaptation,
        criterion=criterion_of(recipe, domains.source).to(fabric.device),
        optimizer=optimizer,
        agent_optimizer=agent_optimizer,
        teacher=domains.teacher,
        scores={},
        last=FinalMean(count=recipe.train.mean_of_last, every=recipe.train.mean_every),
    )
    if resumed:
        model.load_state_dict(resumed.training.get("model", resumed.model))
        if adaptation:
            adaptation.load_state_dict(resumed.training["adaptation"])
            adaptation.to(fabric.device)
        state.step, state.scores, state.stopped = resumed.step, resumed.scores, resumed.stopped
        kept = resumed.training
        state.selection = Selection(best=kept["best"], hits_S=kept.get("best_hits"), waited=kept.get("waited", 0))
        state.last.seen = kept.get("last_scores", {})
    freeze(model, parts_of(recipe), state.step)
    fabric.to_device(model)
    state.average = average_of(recipe, model)  # before what changes how the model computes: it is copied
    if recipe.train.activation_checkpointing:
        checkpoint_layers(model)
    if recipe.train.compile:
        model.compile()
    if state.teacher:
        state.teacher.to(fabric.device)
    state.model, state.optimizer = fabric.setup(model, optimizer)
    if adaptation:
        adaptation.to(fabric.device)
    if resumed:
        optimizer.load_state_dict(resumed.training["optimizer"])
        if agent_optimizer:
            agent_optimizer.load_state_dict(resumed.training["agent_optimizer"])
        if state.average:
            state.average.load_state_dict(resumed.training["average"])
    return state


def steps_from(
    recipe: Recipe, domains: Domains, state: State, fabric: Fabric
) -> Iterator[tuple[tuple[int, int], Stage, Batch]]:
    """Yield ((stage index, step within it), stage, this process's share of the batch) for every step still to do."""
    if state.stopped:
        return
    done, ranks, read = state.step, (fabric.global_rank, fabric.world_size), reading(recipe, domains.teacher)
    for index, stage in enumerate(recipe.train.stages):
        first = min(done, stage.steps)
        done -= first
        if first == stage.steps:
            continue
        lists = (domains.source, domains.target, domains.store)
        loader = training_loader(read, domains.root, *lists, index, first, *ranks, augments_on_device(fabric))
        for step, batch in enumerate(loader, start=first):
            yield (index, step), stage, batch


def finish_average(recipe: Recipe, domains: Domains, state: State, stage: int, fabric: Fabric) -> None:
    """Make the batch norms of averaged weights anew over the stage's first batches, the same in every process."""
    settings = recipe.train.average
    if settings is None or not settings.bn_batches or state.average is None or state.average.model is None:
        return
    loader = training_loader(recipe, domains.root, domains.source, domains.target, domains.store, stage, 0)
    batches = islice(loader, settings.bn_batches)
    clips = (fabric.to_device(batch.source.clips) for batch in batches)
    refresh_batch_norms(state.average.model, clips, parts_of(recipe), state.step - 1)


def score(fabric: Fabric, recipe: Recipe, state: State, evaluate: Evaluate, log: RunLog | None) -> bool:
    """Evaluate; whether it is the best so far, by the recipe's score and margin."""
    with model_to_score(fabric, state) as model:
        evaluated, train = evaluate(model), recipe.train
    state.scores = evaluated.scores
    state.last.add(state.step, total_steps(recipe), state.scores)
    if log:
        log.write("validation", state.step, state.scores)
        if state.last.mean():
            log.write("validation_mean", state.step, state.last.mean(), steps=sorted(state.last.seen))
    if train.select == "last":
        return False
    figures = state.selection.judge(state.scores[train.select], evaluated.hits_S, train.margin)
    if log and (train.margin or train.patience):
        log.write("selection", state.step, figures)
    return bool(figures["higher"])


@contextmanager
def model_to_score(fabric: Fabric, state: State) -> Iterator[nn.Module]:
    """The model in use; several processes, which share the list to score, have the same one, the first one's.

    Parameters are the same in all; batch norm's running statistics are each process's own until DDP's next step. And a
    forward pass of DDP would wait for the other processes, who may have a batch fewer: the model goes without it.
    """
    if fabric.world_size == 1:
        yield state.in_use
        return
    averaged = state.in_use is not state.model
    model = state.in_use if averaged else state.model.module
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)
    with nullcontext() if averaged else fabric.autocast():
        yield model


def keep(recipe: Recipe, domains: Domains, state: State, folder: Path, higher: bool) -> None:
    """Write `last.pth`, and `best.pth` when the recipe's score is higher than before."""
    training = {"optimizer": state.optimizer.state_dict(), "best": state.selection.best, "last_scores": state.last.seen}
    training |= {"best_hits": state.selection.hits_S, "waited": state.selection.waited}
    if state.average:
        training |= {"model": state.model.state_dict(), "average": state.average.state_dict()}
    if state.adaptation is not None:
        training["adaptation"] = state.adaptation.state_dict()
    if state.agent_optimizer is not None:
        training["agent_optimizer"] = state.agent_optimizer.state_dict()
    checkpoint = Checkpoint(
        recipe=recipe.model_dump(mode="json"),
        seed=recipe.seed,
        step=state.step,
        steps=total_steps(recipe),
        lists=domains.lists,
        scores=state.scores,
        mean_of_last=state.last.told(recipe.evaluation.protocol),
        model=state.in_use.state_dict(),
        training=training,
        stopped=state.stopped,
        commit=source_commit(),
    )
    save_checkpoint(folder / "last.pth", checkpoint)
    if higher:
        save_checkpoint(folder / "best.pth", checkpoint)


def chosen_file(recipe: Recipe) -> str:
    """The checkpoint that stands for the run, by the rule that the recipe states."""
    return "last.pth" if recipe.train.select == "last" else "best.pth"


def total_steps(recipe: Recipe) -> int:
    """Optimiser steps of all stages."""
    return sum(stage.steps for stage in recipe.train.stages)


def due(every: int | None, step: int, total: int) -> bool:
    """Whether something that happens every so many steps, and at the end, happens at this one."""
    return every is not None and (step % every == 0 or step == total)
