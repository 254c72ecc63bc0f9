"""The training loop: the only code that steps an optimiser.

One run is a list of stages (MMIR, arXiv 2311.14281, section 3.4: stage 1 classifies, Eq 11; stage 2 classifies, aligns
and refines, Eq 12). Everything a step draws depends on the recipe's seed and the step alone, so a run that was killed
and resumed ends where the uninterrupted one does.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy

from epicsub.adaptation import AdaptationLosses
from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.errors import TrainingError
from epicsub.progress import track
from epicsub.recipe import Recipe, Stage
from epicsub.training.build import (
    AdaptationMethod,
    adaptation_of,
    agent_optimizer_of,
    model_of,
    optimizer_of,
    seed_everything_for,
    training_loader,
)
from epicsub.training.checkpoint import Checkpoint, save_checkpoint, source_commit
from epicsub.training.logs import RunLog
from epicsub.vocab import NUM_NOUNS, NUM_VERBS

Evaluate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Domains:
    """What a run learns from. Target segments come without labels (data/domains.py)."""

    root: DataRoot
    source: list[Segment]
    target: list[list[Segment]]
    lists: dict[str, str]
    """SHA-256 of each annotation list, by file name."""


@dataclass(kw_only=True)
class State:
    """Everything that changes during a run."""

    model: Any
    adaptation: AdaptationMethod | None
    optimizer: Any
    agent_optimizer: Any
    step: int = 0
    scores: dict[str, float]
    best: float = -math.inf


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
    state = set_up(recipe, fabric, resumed)
    log = RunLog(folder, state.step) if fabric.is_global_zero else None
    total = total_steps(recipe)
    steps = steps_from(recipe, domains, state.step, fabric)
    for step, stage, batch in track(steps, recipe.name, total, state.step) if log else steps:
        state.model.train()
        figures = train_step(fabric, recipe, stage, state, fabric.to_device(batch), step)
        state.step += 1
        if log and (state.step % train.log_every == 0 or state.step == total):
            log.write("train", state.step, {name: float(value) for name, value in figures.items()}, stage=step[0] + 1)
        evaluated = evaluate is not None and due(train.evaluate_every, state.step, total)
        if evaluated and evaluate is not None:
            state.scores = evaluate(state.model)
            if log:
                log.write("validation", state.step, state.scores)
        if log and (evaluated or due(train.checkpoint_every, state.step, total)):
            keep(recipe, domains, state, folder, evaluated)
        fabric.barrier()
    if log:
        log.close()
    return folder / chosen_file(recipe)


def set_up(recipe: Recipe, fabric: Fabric, resumed: Checkpoint | None) -> State:
    """Build model, adaptation and optimisers, on the device, with the weights of the checkpoint if there is one."""
    torch.manual_seed(recipe.seed)
    model = model_of(recipe, weights=resumed is None)
    torch.manual_seed(recipe.seed + 1)  # the same discriminators whatever the model drew
    adaptation = adaptation_of(recipe, model.feature_dims)  # type: ignore[arg-type]
    aligned = list(adaptation.alignment_parameters()) if adaptation else []
    optimizer = optimizer_of(recipe, [*model.parameters(), *aligned])
    agent_optimizer = agent_optimizer_of(recipe, list(adaptation.agent_parameters()) if adaptation else [])
    state = State(model=model, adaptation=adaptation, optimizer=optimizer, agent_optimizer=agent_optimizer, scores={})
    if resumed:
        model.load_state_dict(resumed.model)
        if adaptation:
            adaptation.load_state_dict(resumed.training["adaptation"])
            adaptation.to(fabric.device)
        state.step, state.scores, state.best = resumed.step, resumed.scores, resumed.training["best"]
    state.model, state.optimizer = fabric.setup(model, optimizer)
    if adaptation:
        adaptation.to(fabric.device)
    if resumed:
        optimizer.load_state_dict(resumed.training["optimizer"])
        if agent_optimizer:
            agent_optimizer.load_state_dict(resumed.training["agent_optimizer"])
    return state


def steps_from(
    recipe: Recipe, domains: Domains, done: int, fabric: Fabric
) -> Iterator[tuple[tuple[int, int], Stage, dict]]:
    """Yield ((stage index, step within it), stage, this process's share of the batch) for every step still to do."""
    ranks = (fabric.global_rank, fabric.world_size)
    for index, stage in enumerate(recipe.train.stages):
        first = min(done, stage.steps)
        done -= first
        if first == stage.steps:
            continue
        loader = training_loader(recipe, domains.root, domains.source, domains.target, index, first, *ranks)
        for step, batch in enumerate(loader, start=first):
            yield (index, step), stage, batch


def train_step(
    fabric: Fabric, recipe: Recipe, stage: Stage, state: State, batch: dict, step: tuple[int, int]
) -> dict[str, Tensor | float]:
    """One optimiser step of Eq 11 (no target in the batch) or Eq 12; returns the figures to log."""
    generator = seed_everything_for(recipe.seed, state.step, fabric.global_rank)
    learning_rate = scheduled_rate(stage, step[1])
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    state.optimizer.zero_grad(set_to_none=True)

    source = batch["source"]
    output = state.model(source["clips"])
    classification = F.cross_entropy(output.verb_logits_BV, source["verb"]) + F.cross_entropy(
        output.noun_logits_BN, source["noun"]
    )
    loss, adapted = classification, None
    if state.adaptation is not None and "target" in batch:
        target_output = state.model(batch["target"]["clips"])
        adapted = state.adaptation.losses(
            output.features, target_output.features, step[1] / stage.steps, state.step, generator
        )
        loss = recipe.train.class_weight * classification + alignment_weight(recipe) * adapted.alignment
    refuse_non_finite(loss, adapted, batch, state.step + 1)

    fabric.backward(loss)
    if state.adaptation is not None:
        average_gradients(fabric, state.adaptation.alignment_parameters())
    if recipe.train.clip_grad is not None:
        fabric.clip_gradients(state.model, state.optimizer, max_norm=recipe.train.clip_grad)
    state.optimizer.step()
    if adapted is not None and state.adaptation is not None:
        step_agents(fabric, state, adapted)
    return figures_of(output, source, classification, adapted, learning_rate)


def alignment_weight(recipe: Recipe) -> float:
    """Weight of L_adv beside L_cls; 0 where nothing is aligned."""
    return 0.0 if recipe.adaptation.method == "source_only" else recipe.adaptation.loss_weight


def step_agents(fabric: Fabric, state: State, adapted: AdaptationLosses) -> None:
    """Step the agents on their own loss (Eq 7), apart from the model's."""
    if adapted.agents is not None and state.agent_optimizer is not None:
        state.agent_optimizer.zero_grad(set_to_none=True)
        adapted.agents.backward()
        average_gradients(fabric, state.adaptation.agent_parameters())  # type: ignore[union-attr]
        state.agent_optimizer.step()
    state.adaptation.after_step(state.step)  # type: ignore[union-attr]


def average_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Average over processes what DistributedDataParallel does not wrap: discriminators and agents.

    Each process keeps its own replay pool and refines its own share of the batch.
    """
    if fabric.world_size > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = fabric.all_reduce(parameter.grad, reduce_op="mean")


def refuse_non_finite(loss: Tensor, adapted: AdaptationLosses | None, batch: dict, step: int) -> None:
    """Stop before the update: one bad step spoils every weight."""
    values = {"the loss": loss}
    if adapted is not None and adapted.agents is not None:
        values["the agents' loss"] = adapted.agents
    for name, value in values.items():
        if not torch.isfinite(value):
            ids = {domain: ", ".join(part["narration_id"]) for domain, part in batch.items()}
            raise TrainingError(
                f"step {step}: {name} is {value.item()}; stopped before the update, the last checkpoint is whole.\n"
                + "\n".join(f"  {domain} batch: {listed}" for domain, listed in ids.items())
                + "\nTry a lower train.stages.N.learning_rate, train.clip_grad, or precision 32-true"
            )


def figures_of(
    output: Any, source: dict, classification: Tensor, adapted: AdaptationLosses | None, learning_rate: float
) -> dict[str, Tensor | float]:
    """Figures of one batch for the log; accuracies in percent, over the source batch."""
    with torch.no_grad():
        verb = multiclass_accuracy(output.verb_logits_BV, source["verb"], NUM_VERBS, average="micro") * 100
        noun = multiclass_accuracy(output.noun_logits_BN, source["noun"], NUM_NOUNS, average="micro") * 100
    figures: dict[str, Tensor | float] = {
        "learning_rate": learning_rate,
        "loss_classification": classification.detach(),
        "verb_accuracy": verb,
        "noun_accuracy": noun,
    }
    if adapted is not None:
        figures["loss_alignment"] = adapted.alignment.detach()
        if adapted.agents is not None:
            figures["loss_agents"] = adapted.agents.detach()
        figures.update(adapted.logs)
    return figures


def scheduled_rate(stage: Stage, step: int) -> float:
    """Learning rate of a step: linear warm-up, then constant or a cosine that reaches 0 after the last step."""
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.learning_rate
    share = (step - stage.warmup_steps) / (stage.steps - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def keep(recipe: Recipe, domains: Domains, state: State, folder: Path, evaluated: bool) -> None:
    """Write `last.pth`, and `best.pth` when the recipe's score is higher than before."""
    improved = evaluated and recipe.train.select != "last" and state.scores[recipe.train.select] > state.best
    if improved:
        state.best = state.scores[recipe.train.select]
    training = {"optimizer": state.optimizer.state_dict(), "best": state.best}
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
        model=state.model.state_dict(),
        training=training,
        commit=source_commit(),
    )
    save_checkpoint(folder / "last.pth", checkpoint)
    if improved:
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
