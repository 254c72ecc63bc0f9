"""One optimiser step: losses, backward pass, update, and the figures that are logged."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torchmetrics.functional.classification import multiclass_accuracy

from epicsub.adaptation import AdaptationBatch, AdaptationLosses, AdaptationMethod
from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.batch import Batch, LabelledClipBatch, Labels
from epicsub.errors import NotFiniteError
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import Recipe, Stage
from epicsub.training.averaging import WeightAverage
from epicsub.training.build import seed_everything_for
from epicsub.training.distill import Teacher
from epicsub.training.final_mean import FinalMean
from epicsub.training.losses import Criterion
from epicsub.training.mixing import draw_mix, mix_batch
from epicsub.training.schedules import rate_scale, scheduled_rate
from epicsub.training.selection import Selection


@dataclass(kw_only=True)
class State:
    """Everything that changes during a run."""

    model: Any
    adaptation: AdaptationMethod | None
    criterion: Criterion
    optimizer: Any
    agent_optimizer: Any
    average: WeightAverage | None = None
    teacher: Teacher | None = None
    step: int = 0
    scores: dict[str, float]
    last: FinalMean
    selection: Selection = field(default_factory=Selection)
    stopped: bool = False
    """Whether the run ended before its last step, for want of better scores."""
    removed: dict[str, Tensor] = field(default_factory=dict)
    """Positions in the last step's batch that each agent took out."""

    @property
    def in_use(self) -> nn.Module:
        """The model that is evaluated and kept: with averaged weights, where there are any yet."""
        averaged = self.average.model if self.average else None
        return averaged if averaged is not None else self.model


def train_step(
    fabric: Fabric, recipe: Recipe, stage: Stage, state: State, batch: Batch, step: tuple[int, int]
) -> dict[str, Tensor | float]:
    """One optimiser step of Eq 11 (no target in the batch) or Eq 12; returns the figures to log."""
    generator = seed_everything_for(recipe.seed, state.step, fabric.global_rank)
    learning_rate = scheduled_rate(stage, step[1]) * rate_scale(recipe, stage)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate * group.get("rate_factor", 1.0)
    state.optimizer.zero_grad(set_to_none=True)

    source, adapted = apply_mixing_and_teacher(recipe, state, batch.source, generator), None
    if state.adaptation is not None and batch.target is not None:
        output = state.model(source.clips)
        outputs = (output, state.model(batch.target.clips))
        adapted = state.adaptation.losses(adaptation_batch(state, outputs, batch, stage, step, generator))
        classification = state.criterion(output, source, adapted.classified_B)
        loss = class_weight(recipe, stage) * classification + alignment_weight(recipe) * adapted.alignment
        fabric.backward(loss)
    else:
        output, classification = classify(fabric, state, source, recipe.train.accumulate)
        loss = classification
    if state.adaptation is not None:
        average_gradients(fabric, state.adaptation.alignment_parameters())
    update_weights(fabric, recipe, state, {"the loss": loss} | agents_loss(adapted), batch)
    state.removed = adapted.removed if adapted else {}
    if adapted is not None and state.adaptation is not None:
        step_agents(fabric, state, adapted)
    return figures_of(output, source.labels, classification, adapted, learning_rate, recipe.classes.nouns)


def apply_mixing_and_teacher(
    recipe: Recipe, state: State, source: LabelledClipBatch, generator: torch.Generator
) -> LabelledClipBatch:
    """Mix the labelled clips and add the teacher's soft labels, as the recipe says."""
    mixing = recipe.train.mixing
    mix = draw_mix(mixing.mixup, mixing.cutmix, mixing.probability, generator) if mixing else None
    mixed = mix_batch(source, mix) if mix else source
    return state.teacher.add_soft_labels(mixed) if state.teacher else mixed


def classify(fabric: Fabric, state: State, source: LabelledClipBatch, parts: int) -> tuple[TwoHeadOutput, Tensor]:
    """Gradients of the classification loss, in so many parts of the batch, one after the other.

    The parts are equally large and every loss is a mean over clips, so their mean is the loss of the batch at once,
    but for what sees several clips together: batch norm has the statistics of a part.

    Returns:
        Logits of all clips, without their graph, and the loss.
    """
    outputs, losses = [], []
    size = len(source.narration_ids) // parts
    for number in range(1, parts + 1):
        part = source.rows(slice((number - 1) * size, number * size)) if parts > 1 else source
        with fabric.no_backward_sync(state.model, enabled=number < parts):
            output = state.model(part.clips)
            loss = state.criterion(output, part) / parts
            fabric.backward(loss)
        outputs.append((output.verb_logits_BV.detach(), output.noun_logits_BN.detach()))
        losses.append(loss.detach())
    verb, noun = (torch.cat(logits) for logits in zip(*outputs, strict=True))
    return TwoHeadOutput(verb, noun, {}), torch.stack(losses).sum()


def adaptation_batch(
    state: State,
    outputs: tuple[TwoHeadOutput, TwoHeadOutput],
    batch: Batch,
    stage: Stage,
    step: tuple[int, int],
    generator: torch.Generator,
) -> AdaptationBatch:
    """What the adaptation method sees of this step; `outputs` of source and target, `step` (stage, step within it)."""
    return AdaptationBatch(
        source=outputs[0],
        target=outputs[1],
        verb_B=batch.source.labels.verb_B,
        noun_B=batch.source.labels.noun_B,
        progress=step[1] / stage.steps,
        stage=step[0],
        step=state.step,
        generator=generator,
        model=state.model.module,
        source_ids=batch.source.narration_ids,
        target_ids=batch.target.narration_ids if batch.target else (),
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


def agents_loss(adapted: AdaptationLosses | None) -> dict[str, Tensor]:
    """The agents' loss by its name, where there are agents."""
    return {} if adapted is None or adapted.agents is None else {"the agents' loss": adapted.agents}


def update_weights(fabric: Fabric, recipe: Recipe, state: State, losses: dict[str, Tensor], batch: Batch) -> None:
    """Clip the gradient and step the optimiser, unless a loss or the gradient is not finite.

    With 16-mixed a gradient that is not finite is no error: the scaler leaves the step out and lowers its factor.

    Raises:
        NotFiniteError: before the update, as one bad step spoils every weight.
    """
    clip, scaled = recipe.train.clip_grad, recipe.train.precision == "16-mixed"
    groups = state.optimizer.param_groups
    gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None and not scaled]
    refuse_non_finite(losses | {"the gradient's norm": get_total_norm(gradients)}, batch, state.step + 1)
    if clip is not None:
        fabric.clip_gradients(state.model, state.optimizer, max_norm=clip, error_if_nonfinite=False)
    state.optimizer.step()


def refuse_non_finite(values: dict[str, Tensor], batch: Batch, step: int) -> None:
    """Stop at what is not finite, with the clips of the step.

    Raises:
        NotFiniteError: naming the value and the narration ids.
    """
    for name, value in values.items():
        if not torch.isfinite(value):
            ids = {domain: ", ".join(part.narration_ids) for domain, part in batch.by_domain().items()}
            raise NotFiniteError(
                f"step {step}: {name} is {value.item()}; stopped before the update, the last checkpoint is whole.\n"
                + "\n".join(f"  {domain} batch: {listed}" for domain, listed in ids.items())
                + "\nTry a lower train.stages.N.learning_rate, train.clip_grad, or precision 32-true"
            )


def figures_of(
    output: TwoHeadOutput,
    labels: Labels,
    classification: Tensor,
    adapted: AdaptationLosses | None,
    learning_rate: float,
    nouns: bool = True,
) -> dict[str, Tensor | float]:
    """Figures of one batch for the log; accuracies in percent, over the source batch, of nouns where it has some."""
    with torch.no_grad():
        verb = multiclass_accuracy(output.verb_logits_BV, labels.verb_B, NUM_VERBS, average="micro") * 100
    figures: dict[str, Tensor | float] = {
        "learning_rate": learning_rate,
        "loss_classification": classification.detach(),
        "verb_accuracy": verb,
    }
    if nouns:
        noun = multiclass_accuracy(output.noun_logits_BN.detach(), labels.noun_B, NUM_NOUNS, average="micro") * 100
        figures["noun_accuracy"] = noun
    if adapted is not None:
        figures["loss_alignment"] = adapted.alignment.detach()
        if adapted.agents is not None:
            figures["loss_agents"] = adapted.agents.detach()
        figures.update(adapted.logs)
    return figures
