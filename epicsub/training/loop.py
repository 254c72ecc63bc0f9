"""The training loop: stages, steps, evaluations and checkpoints of one run.

One run is a list of stages (MMIR, arXiv 2311.14281, section 3.4: stage 1 classifies, Eq 11; stage 2 classifies, aligns
and refines, Eq 12). Everything a step draws depends on the recipe's seed and the step alone, so a run that was killed
and resumed ends where the uninterrupted one does.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from epicsub.data.batch import Batch
from epicsub.data.sampling import Views
from epicsub.progress import note_kept, track
from epicsub.recipe import Recipe, Stage
from epicsub.training.agents import missed_updates, warn_of_missed_updates
from epicsub.training.augmentation import augments_on_device, to_device
from epicsub.training.build import parts_of
from epicsub.training.checkpoint import Checkpoint
from epicsub.training.device import copied_ahead, deterministic_kernels, log_determinism
from epicsub.training.distill import with_teacher_modalities
from epicsub.training.draws import drawn_ids, sampler_of
from epicsub.training.epochs import count_epochs
from epicsub.training.layers import freeze
from epicsub.training.loaders import Domains, training_loader, view_loader
from epicsub.training.processes import launch, make_fabric
from epicsub.training.run_folder import RemovalLog, RunLog
from epicsub.training.selection import EvaluationResult, refresh_batch_norms
from epicsub.training.state import State, build_state, ends_first_stage, read_watch, save_state, total_steps
from epicsub.training.step import train_step
from epicsub.training.together import StopSignals, check_agreement, name_the_lost, stopped

Evaluate = Callable[[nn.Module], EvaluationResult]
ONE_VIEW = Views(clips=1, crops=1, flip=False)
TARGET_ORDER = 1  # of the seed: the draw of the target's order after training


def fit(recipe: Recipe, domains: Domains, folder: Path, evaluate: Evaluate | None, resumed: Checkpoint | None) -> Path:
    """Train a recipe, from its start or from a checkpoint.

    What is equal to the bit when a run is repeated, or was killed and resumed: see `deterministic_kernels`.

    Args:
        recipe: the resolved recipe.
        domains: labelled source segments and unlabelled target segments.
        folder: the run's folder; `last.pth`, `best.pth`, `metrics.jsonl` and `tensorboard/` are written into it.
        evaluate: scores a model, called every `train.evaluate_every` steps.
        resumed: checkpoint to go on from, or None to start.

    Returns:
        Path of the checkpoint that the recipe selects.

    Raises:
        NotFiniteError: a loss is not finite; the message names the step and the narration ids.
        TrainingError: the recipe asks for a kernel's deterministic form, and it has none.
        DataError: a segment cannot be decoded; the message names it.
        RunStoppedError: SIGUSR1 or SIGTERM came, and the checkpoint of the step is written; or another process is lost.
    """
    recipe = count_epochs(recipe, len(domains.source))
    with deterministic_kernels(recipe), StopSignals() as signals:
        fabric = make_fabric(recipe.train)
        launch(fabric)
        hosts = check_agreement(fabric, resumed.step if resumed else 0)
        with name_the_lost(fabric, hosts):
            return _fit(fabric, recipe, domains, folder, evaluate, resumed, signals)


def _fit(
    fabric: Fabric,
    recipe: Recipe,
    domains: Domains,
    folder: Path,
    evaluate: Evaluate | None,
    resumed: Checkpoint | None,
    signals: StopSignals,
) -> Path:
    train, total = recipe.train, total_steps(recipe)
    if fabric.is_global_zero:
        log_determinism(fabric.device, train.deterministic)
    state = build_state(recipe, domains, fabric, resumed)
    log = RunLog(folder, state.step) if fabric.is_global_zero else None
    removals = RemovalLog(folder, state.step) if log else None
    reported, stops = missed_updates(state.agent_optimizer), 0
    steps = _remaining_steps(recipe, domains, state, fabric)
    moved = copied_ahead(steps, lambda read: (*read[:2], to_device(fabric, recipe, read[2])), fabric.device)
    for step, stage, batch in track(moved, recipe.name, total, state.step) if log else moved:
        state.model.train()
        freeze(state.model.module, parts_of(recipe), state.step)
        metrics = train_step(fabric, recipe, stage, state, batch, step)
        state.step += 1
        last = state.step == total
        stops = 0 if last else signals.agreed(fabric)
        evaluates = evaluate is not None and (
            is_scheduled(train.evaluate_every, state.step, total) or state.final_mean.includes(state.step, total)
        )
        saves = evaluates or is_scheduled(train.checkpoint_every, state.step, total)
        saves = saves or ends_first_stage(recipe, state.step) or bool(stops)
        logs = state.step % train.log_every == 0 or last
        if logs or saves:
            read_watch(fabric, recipe, domains, state, folder)
        _keep_step(state, removals, batch)
        if evaluates or last:
            _refresh_average(recipe, domains, state, step[0], fabric)
        if last:
            _adapt_to_target(fabric, recipe, domains, state)
        if log and logs:
            log.write("train", state.step, {name: float(value) for name, value in metrics.items()}, stage=step[0] + 1)
            reported = warn_of_missed_updates(state.agent_optimizer, reported, state.step)
        best = False
        if evaluates and evaluate is not None:
            with _adapted_for_evaluation(fabric, recipe, domains, state):
                best = _evaluate(fabric, recipe, state, evaluate, log)
        state.stopped = evaluates and state.selection.should_stop(train.patience) and not last
        if removals and (saves or state.step % train.log_every == 0):
            removals.flush()  # before the checkpoint, so that a resumed run lacks no step
        if saves:
            save_state(fabric, recipe, domains, state, folder, best)
            note_kept(f"checkpoint of step {state.step}")
        fabric.barrier()
        if state.stopped or stops:
            break
    if log:
        log.close()
    if stops and not state.stopped:
        raise stopped(stops, state.step, total)
    return folder / selected_checkpoint(recipe)


def _keep_step(state: State, removals: RemovalLog | None, batch: Batch) -> None:
    """Add a step to the averaged weights and to the log of removals."""
    if removals:
        removals.add(state.step, batch, state.removed)
    if state.average:
        state.average.update(state.model.module, state.step)


def selected_checkpoint(recipe: Recipe) -> str:
    """Name the checkpoint that stands for a run.

    Args:
        recipe: with `train.select`.

    Returns:
        A file name in the run's folder.
    """
    return "last.pth" if recipe.train.select == "last" else "best.pth"


def is_scheduled(every: int | None, step: int, total: int) -> bool:
    """Decide whether something that happens every so many steps, and at the end, happens after this one.

    Args:
        every: steps between; None for never.
        step: of the run, from 1.
        total: steps of the run.

    Returns:
        True if it does.
    """
    return every is not None and (step % every == 0 or step == total)


def _remaining_steps(
    recipe: Recipe, domains: Domains, state: State, fabric: Fabric
) -> Iterator[tuple[tuple[int, int], Stage, Batch]]:
    """Yield ((stage index, step within it), stage, this process's share of the batch) for every step still to do."""
    if state.stopped:
        return
    done, cut = state.step, with_teacher_modalities(recipe, domains.teacher)
    for index, stage in enumerate(recipe.train.stages):
        first = min(done, stage.length)
        done -= first
        if first == stage.length:
            continue
        loader = training_loader(
            cut, domains, index, first, fabric.global_rank, fabric.world_size, augments_on_device(fabric)
        )
        sampler = sampler_of(cut, domains.source, domains.target, index, first)
        for step, batch in enumerate(loader, start=first):
            whole = drawn_ids(domains.source, domains.target, sampler, step) if fabric.world_size > 1 else None
            yield (index, step), stage, replace(batch, whole_ids=whole)


def _refresh_average(recipe: Recipe, domains: Domains, state: State, stage: int, fabric: Fabric) -> None:
    """Recompute the batch norms of averaged weights over the stage's first batches, the same in every process."""
    settings = recipe.train.average
    if settings is None or not settings.bn_batches or state.average is None or state.average.model is None:
        return
    batches = islice(training_loader(recipe, domains, stage, 0), settings.bn_batches)
    clips = (fabric.to_device(batch.source.clips) for batch in batches)
    refresh_batch_norms(state.average.model, clips, parts_of(recipe), state.step - 1)


def _evaluate(fabric: Fabric, recipe: Recipe, state: State, evaluate: Evaluate, log: RunLog | None) -> bool:
    """Evaluate; True if it is the best so far, by the recipe's score and margin."""
    train = recipe.train
    with model_for_evaluation(fabric, state) as model:
        result = evaluate(model)
    state.scores = result.scores
    state.final_mean.add(state.step, total_steps(recipe), state.scores)
    if log:
        log.write("validation", state.step, state.scores)
        if mean := state.final_mean.mean():
            log.write("validation_mean", state.step, mean, steps=sorted(state.final_mean.scores))
    if train.select == "last":
        return False
    metrics = state.selection.update(state.scores[train.select], result.hits_S, train.margin)
    if log and (train.margin or train.patience):
        log.write("selection", state.step, metrics)
    return bool(metrics["higher"])


@contextmanager
def model_for_evaluation(fabric: Fabric, state: State) -> Iterator[nn.Module]:
    """Give the model to evaluate, the same in all processes: the first one's.

    Parameters are the same in all; batch norm's running statistics are each process's own until DDP's next step. And a
    forward pass of DDP would wait for the other processes, who may have a batch fewer: the model goes without it.

    Args:
        fabric: with the processes.
        state: with the model.

    Yields:
        The model.
    """
    if fabric.world_size == 1:
        with fabric.autocast():
            yield state.evaluation_model
        return
    averaged = state.evaluation_model is not state.model
    model = state.evaluation_model if averaged else state.model.module
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer, 0)
    with fabric.autocast():
        yield model


@contextmanager
def _adapted_for_evaluation(fabric: Fabric, recipe: Recipe, domains: Domains, state: State) -> Iterator[None]:
    """For evaluations before the last step: within, the model is what it would be if training ended here."""
    method = state.adaptation
    if method is None or not method.target_batch_after_training or state.step == total_steps(recipe):
        yield
        return
    weights = {name: value.clone() for name, value in state.evaluation_model.state_dict().items()}
    _adapt_to_target(fabric, recipe, domains, state)
    yield
    state.evaluation_model.load_state_dict(weights)


def _adapt_to_target(fabric: Fabric, recipe: Recipe, domains: Domains, state: State) -> None:
    """Let the method see every target clip once, without labels, one view each, after the last step."""
    method = state.adaptation
    if method is None or not method.target_batch_after_training:
        return
    batches = target_batches(recipe, domains, method.target_batch_after_training)
    clips = ({name: fabric.to_device(clip_B) for name, clip_B in batch.items()} for batch in batches)
    method.after_training(state.evaluation_model, clips)


def target_batches(recipe: Recipe, domains: Domains, size: int) -> Iterator[dict[str, Tensor]]:
    """Read every target clip once, one view each, in an order drawn by the seed: neighbours of a list share a video.

    The loader's batches are small, for its workers' memory, and are put together here.

    Args:
        recipe: says how clips are cut.
        domains: with the target segments.
        size: the most clips of a batch; batches are as equal as can be, so that none is small.

    Yields:
        Clips (B, C, T, H, W) by modality, or features (B, D) or (B, T, D).
    """
    segments = domains.target_segments
    order = np.random.default_rng([recipe.seed, TARGET_ORDER]).permutation(len(segments))
    shuffled = [segments[place] for place in order]
    loader = view_loader(recipe, domains.root, shuffled, ONE_VIEW, domains.store)
    held: dict[str, list[Tensor]] = {}
    batches = math.ceil(len(segments) / size)
    ends = iter([len(segments) * number // batches for number in range(1, batches + 1)])
    end, read, given = next(ends), 0, 0
    for _, views in track(loader, "target clips without labels", len(loader)):
        for name, clip_BV in views.items():
            held.setdefault(name, []).append(clip_BV.flatten(0, 1))
        read += len(next(iter(views.values())))
        while given < end <= read:
            whole = {name: torch.cat(parts) for name, parts in held.items()}
            yield {name: clip_B[: end - given] for name, clip_B in whole.items()}
            held = {name: [clip_B[end - given :]] for name, clip_B in whole.items()}
            given, end = end, next(ends, end)
