"""One optimiser step: losses, backward pass, update, and the figures that are logged."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy

from epicsub.adaptation import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.errors import TrainingError
from epicsub.models import TwoHeadOutput
from epicsub.recipe import Recipe, Stage
from epicsub.training.build import seed_everything_for
from epicsub.training.final_mean import FinalMean
from epicsub.vocab import NUM_NOUNS, NUM_VERBS


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
    last: FinalMean


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
    adapted = None
    if state.adaptation is not None and "target" in batch:
        outputs = (output, state.model(batch["target"]["clips"]))
        adapted = state.adaptation.losses(adaptation_batch(state, outputs, batch, stage, step, generator))
    chosen_B = adapted.classified_B if adapted else None
    classification = classification_loss(output, source, chosen_B, recipe.classes.nouns)
    loss = classification
    if adapted is not None:
        loss = class_weight(recipe, stage) * classification + alignment_weight(recipe) * adapted.alignment
    refuse_non_finite(loss, adapted, batch, state.step + 1)

    fabric.backward(loss)
    if state.adaptation is not None:
        average_gradients(fabric, state.adaptation.alignment_parameters())
    if recipe.train.clip_grad is not None:
        fabric.clip_gradients(state.model, state.optimizer, max_norm=recipe.train.clip_grad)
    state.optimizer.step()
    if adapted is not None and state.adaptation is not None:
        step_agents(fabric, state, adapted)
    return figures_of(output, source, classification, adapted, learning_rate, recipe.classes.nouns)


def classification_loss(output: TwoHeadOutput, source: dict, chosen_B: Tensor | None, nouns: bool = True) -> Tensor:
    """L_cls of Eq 1, for verbs and nouns and for every classifier, over the chosen source clips (None: all)."""
    chosen = slice(None) if chosen_B is None else chosen_B
    loss = F.cross_entropy(output.verb_logits_BV[chosen], source["verb"][chosen])
    if nouns:
        loss = loss + F.cross_entropy(output.noun_logits_BN[chosen], source["noun"][chosen])
    return loss if output.second is None else loss + classification_loss(output.second, source, chosen_B, nouns)


def adaptation_batch(
    state: State,
    outputs: tuple[TwoHeadOutput, TwoHeadOutput],
    batch: dict,
    stage: Stage,
    step: tuple[int, int],
    generator: torch.Generator,
) -> AdaptationBatch:
    """What the adaptation method sees of this step; `outputs` of source and target, `step` (stage, step within it)."""
    return AdaptationBatch(
        source=outputs[0],
        target=outputs[1],
        verb_B=batch["source"]["verb"],
        noun_B=batch["source"]["noun"],
        progress=step[1] / stage.steps,
        stage=step[0],
        step=state.step,
        generator=generator,
        model=state.model.module,
        source_ids=batch["source"]["narration_id"],
        target_ids=batch["target"]["narration_id"],
    )


def class_weight(recipe: Recipe, stage: Stage) -> float:
    """Weight of L_cls in a stage that adapts: the stage's own, or the recipe's."""
    return recipe.train.class_weight if stage.class_weight is None else stage.class_weight


def alignment_weight(recipe: Recipe) -> float:
    """Weight of L_adv beside L_cls; 1 for methods that weigh their own losses."""
    return getattr(recipe.adaptation, "loss_weight", 1.0)


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
    output: Any,
    source: dict,
    classification: Tensor,
    adapted: AdaptationLosses | None,
    learning_rate: float,
    nouns: bool = True,
) -> dict[str, Tensor | float]:
    """Figures of one batch for the log; accuracies in percent, over the source batch, of nouns where it has some."""
    with torch.no_grad():
        verb = multiclass_accuracy(output.verb_logits_BV, source["verb"], NUM_VERBS, average="micro") * 100
    figures: dict[str, Tensor | float] = {
        "learning_rate": learning_rate,
        "loss_classification": classification.detach(),
        "verb_accuracy": verb,
    }
    if nouns:
        noun = multiclass_accuracy(output.noun_logits_BN.detach(), source["noun"], NUM_NOUNS, average="micro") * 100
        figures["noun_accuracy"] = noun
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
