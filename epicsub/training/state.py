"""What changes during a run: built from the recipe, restored from a checkpoint, and written into the next."""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from epicsub.adaptation import AdaptationMethod
from epicsub.errors import NotFiniteError
from epicsub.recipe import Recipe
from epicsub.text import counted
from epicsub.training import build
from epicsub.training.agents import AgentOptimizers
from epicsub.training.checkpoint import Checkpoint, save_checkpoint, source_commit
from epicsub.training.device import use_fast_kernels
from epicsub.training.distill import Teacher
from epicsub.training.finite import LAST_FINITE
from epicsub.training.layers import batch_norms, checkpoint_layers, checkpoint_pools, freeze
from epicsub.training.loaders import Domains
from epicsub.training.losses import Criterion
from epicsub.training.provenance import features_provenance, initial_provenance, merge_provenance
from epicsub.training.selection import FinalMean, Selection, WeightAverage
from epicsub.training.start import load_start, load_start_optimizer, start_of
from epicsub.training.sync_norm import SMALL_SHARE, synchronise_batch_norms
from epicsub.training.update import Stepped

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class State(Stepped):
    """Everything that changes during a run."""

    adaptation: AdaptationMethod | None
    criterion: Criterion
    agent_optimizer: AgentOptimizers | None
    average: WeightAverage | None = None
    teacher: Teacher | None = None
    scores: dict[str, float] = field(default_factory=dict)
    """Of the last evaluation, in percent."""
    final_mean: FinalMean
    selection: Selection = field(default_factory=Selection)
    stopped: bool = False
    """True if the run ended before its last step, as its score no longer rose."""
    removed: dict[str, Tensor] = field(default_factory=dict)
    """Positions in the last step's batch that each agent removed."""

    @property
    def evaluation_model(self) -> nn.Module:
        """The model that is evaluated and saved: with averaged weights, where there are any yet."""
        averaged = self.average.model if self.average else None
        return averaged if averaged is not None else self.model


def build_state(recipe: Recipe, domains: Domains, fabric: Fabric, resumed: Checkpoint | None) -> State:
    """Build model, adaptation and optimisers on the device.

    Args:
        recipe: the resolved recipe.
        domains: labelled segments, for class counts, and the teacher.
        fabric: with the device.
        resumed: checkpoint to go on from, or None to start.

    Returns:
        The state at the checkpoint's step, or at step 0.

    Raises:
        TrainingError: `train.parts` do not fit the model.
        ModelError: published weights are not there or do not fit.
    """
    started = start_of(recipe) if resumed is None else None
    torch.manual_seed(recipe.seed)
    model = build.model_of(recipe, resumed is None and started is None, build.action_table(recipe, domains.source))
    torch.manual_seed(recipe.seed + 1)  # the same discriminators whatever the model drew
    adaptation = build.adaptation_of(recipe, model, domains.source)
    aligned = list(adaptation.alignment_parameters()) if adaptation else []
    # with 16-mixed the gradient is unscaled before it is clipped, which fused optimisers leave to their step
    fused = recipe.train.precision != "16-mixed"
    optimizer = build.optimizer_of(recipe, build.trained_parameters(recipe, model, aligned), fused)
    agent_optimizer = build.agent_optimizer_of(recipe, adaptation.parameters_by_agent() if adaptation else {})
    step = (resumed or started).step if resumed or started else 0  # type: ignore[union-attr]  # one of them is there
    if started:
        load_start(model, started)
    if resumed:
        model.load_state_dict(resumed.training.get("model", resumed.model))
        if adaptation:
            adaptation.load_state_dict(resumed.training["adaptation"])
            if "adaptation_of_processes" in resumed.training:
                log.warning(
                    "the checkpoint of step %d is of an earlier version, whose processes had a replay each: all go on "
                    "from the first one's, not where the uninterrupted run would", resumed.step,
                )  # fmt: skip
    freeze(model, build.parts_of(recipe), step)
    fabric.to_device(model)
    use_fast_kernels(model, fabric.device)
    average = build.average_of(recipe, model)  # before what changes how the model computes: it is copied
    if recipe.train.activation_checkpointing == "pools":
        checkpoint_pools(model)
    elif recipe.train.activation_checkpointing:
        checkpoint_layers(model)
    if recipe.train.compile:
        model.compile()
    if synchronises_batch_norms(recipe, model, fabric):
        synchronise_batch_norms(model)
    if domains.teacher:
        domains.teacher.to(fabric.device)
    wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
    if adaptation:
        adaptation.to(fabric.device)
    state = State(
        model=wrapped,
        adaptation=adaptation,
        criterion=build.criterion_of(recipe, domains.source).to(fabric.device),
        optimizer=wrapped_optimizer,
        agent_optimizer=agent_optimizer,
        average=average,
        teacher=domains.teacher,
        step=step,
        initial=resumed.initial if resumed else _seen_before(recipe, domains, started),
        final_mean=FinalMean(count=recipe.train.mean_of_last, every=recipe.train.mean_every),
    )
    if started:
        load_start_optimizer(optimizer, model, started)
    if resumed:
        _restore(state, resumed, optimizer)
    return state


def _seen_before(recipe: Recipe, domains: Domains, started: Checkpoint | None) -> dict[str, Any]:
    """What all that a run begins with was pre-trained on. A start has it of its weights, which are not read again."""
    parts = [initial_provenance(recipe)] if started is None else [started.initial]
    parts.append(features_provenance(recipe, domains.root))
    return merge_provenance([*parts, domains.teacher.initial if domains.teacher else {}])


def synchronises_batch_norms(recipe: Recipe, model: nn.Module, fabric: Fabric) -> bool:
    """Decide whether batch norms take their statistics over all processes, and tell it.

    Args:
        recipe: with `train.sync_batch_norm`.
        model: of the recipe.
        fabric: with the processes.

    Returns:
        Always False for one process, or for a model without batch norms.
    """
    if fabric.world_size == 1 or next(batch_norms(model), None) is None:
        return False
    share = min(stage.source_batch // fabric.world_size for stage in recipe.train.stages)
    chosen = recipe.train.sync_batch_norm
    synchronised = share < SMALL_SHARE if chosen is None else chosen
    if fabric.is_global_zero:
        log.info(
            "batch norms take the statistics of %s (train.sync_batch_norm %s; %s of a step for a process)",
            "all processes" if synchronised else "each process's own clips",
            "null" if chosen is None else str(chosen).lower(),
            counted(share, "labelled clip", "labelled clips"),
        )
    return synchronised


def _restore(state: State, resumed: Checkpoint, optimizer: Optimizer) -> None:
    """Take from a checkpoint all that the model's and the method's weights leave out."""
    training = resumed.training
    state.scores, state.stopped = resumed.scores, resumed.stopped
    state.selection = Selection(
        best=training["best"], hits_S=training.get("best_hits"), waited=training.get("waited", 0)
    )
    state.final_mean.scores = training.get("last_scores", {})
    optimizer.load_state_dict(training["optimizer"])
    if state.agent_optimizer:
        state.agent_optimizer.load_state_dict(training["agent_optimizer"])
    if state.average:
        state.average.load_state_dict(training["average"])


def save_state(fabric: Fabric, recipe: Recipe, domains: Domains, state: State, folder: Path, best: bool) -> None:
    """Write `stage_1.pth` where the first stage ends, `best.pth` if this is the best state so far, then `last.pth`.

    In this order, since a killed run resumes from `last.pth`: one that is killed between repeats the step and writes
    all; one that had written only `last.pth` would go on without ever writing the others. The first process writes: the
    states of all are the same.

    Args:
        fabric: with the processes.
        recipe: the resolved recipe.
        domains: for the digests of its lists.
        state: to be saved.
        folder: the run's.
        best: write `best.pth` too.
    """
    if not fabric.is_global_zero:
        return
    checkpoint = _checkpoint_of(recipe, domains, state)
    if ends_first_stage(recipe, state.step):
        save_checkpoint(folder / "stage_1.pth", checkpoint)
    if best:
        save_checkpoint(folder / "best.pth", checkpoint)
    save_checkpoint(folder / "last.pth", checkpoint)


def read_watch(fabric: Fabric, recipe: Recipe, domains: Domains, state: State, folder: Path) -> None:
    """Stop a run whose loss or gradient was not finite; what it was before that step goes into `last_finite.pth`.

    Args:
        fabric: with the processes; several leave no such file.
        recipe: the resolved recipe.
        domains: for the digests of its lists.
        state: of the run.
        folder: the run's.

    Raises:
        NotFiniteError: a step was not finite; the message names it and its narration ids.
    """
    try:
        state.watch.read(state.model.module)
    except NotFiniteError:
        if fabric.world_size == 1:
            state.step = state.watch.failed_step - 1
            save_checkpoint(folder / LAST_FINITE, _checkpoint_of(recipe, domains, state))
        raise


def _checkpoint_of(recipe: Recipe, domains: Domains, state: State) -> Checkpoint:
    """What a checkpoint holds of a state."""
    training: dict[str, Any] = {
        "optimizer": state.optimizer.state_dict(),
        "best": state.selection.best,
        "last_scores": state.final_mean.scores,
        "best_hits": state.selection.hits_S,
        "waited": state.selection.waited,
    }
    if state.average:
        training |= {"model": state.model.state_dict(), "average": state.average.state_dict()}
    if state.adaptation is not None:
        training["adaptation"] = state.adaptation.state_dict()
    if state.agent_optimizer is not None:
        training["agent_optimizer"] = state.agent_optimizer.state_dict()
    return replace(
        checkpoint_of(recipe, domains, state, state.evaluation_model, training),
        scores=state.scores,
        mean_of_last=state.final_mean.summary(recipe.evaluation.protocol),
        stopped=state.stopped,
    )


def checkpoint_of(
    recipe: Recipe, domains: Domains, state: Stepped, model: nn.Module, training: dict[str, Any]
) -> Checkpoint:
    """Write down where a run stands, with its provenance.

    Args:
        recipe: the resolved recipe.
        domains: for the digests of its lists.
        state: of training or of pre-training.
        model: whose weights the checkpoint holds.
        training: what a resumed run needs beside them.

    Returns:
        The checkpoint, without scores.
    """
    return Checkpoint(
        recipe=recipe.model_dump(mode="json"),
        seed=recipe.seed,
        step=state.step,
        steps=total_steps(recipe),
        lists=domains.lists,
        scores={},
        model=model.state_dict(),
        training=training,
        initial=state.initial,
        commit=source_commit(),
    )


def ends_first_stage(recipe: Recipe, step: int) -> bool:
    """Decide whether another stage follows a first that has ended with this step.

    Args:
        recipe: with `train.stages`.
        step: of the run, from 1.

    Returns:
        True if it does.
    """
    return len(recipe.train.stages) > 1 and step == recipe.train.stages[0].length


def total_steps(recipe: Recipe) -> int:
    """Count the optimiser steps of all stages.

    Args:
        recipe: with `train.stages`.

    Returns:
        The sum.
    """
    return sum(stage.length for stage in recipe.train.stages)
