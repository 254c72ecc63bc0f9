"""One optimiser step: learning rate, losses, backward pass, update, and the metrics that are logged."""

from dataclasses import replace

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from epicsub.adaptation import AdaptationBatch, AdaptationLosses
from epicsub.data.batch import Batch, LabelledClipBatch, Labels
from epicsub.models.heads import TwoHeadOutput
from epicsub.recipe import Recipe, Stage
from epicsub.training.agents import average_gradients
from epicsub.training.augmentation import draw_mix, mix_batch
from epicsub.training.build import rate_scale, scheduled_rate
from epicsub.training.gather import gather_labels, gather_output
from epicsub.training.parts import Passes
from epicsub.training.state import State
from epicsub.training.update import set_rate, update_weights

Metrics = dict[str, Tensor | float]


def train_step(
    fabric: Fabric, recipe: Recipe, stage: Stage, state: State, batch: Batch, step: tuple[int, int]
) -> Metrics:
    """Take one optimiser step: MMIR's Eq 11 (no target in the batch) or Eq 12, then the method's later updates.

    Args:
        fabric: with the device.
        recipe: the resolved recipe.
        stage: of the recipe.
        state: is changed, but for its number of steps.
        batch: on the device.
        step: index of the stage, and step within it, from 0.

    Returns:
        Metrics of this batch to log.

    Raises:
        NotFiniteError: a loss or the gradient is not finite, and the optimiser is not fused; no weight has moved. One
            that is fused moves none either, and `state.watch` tells when it is read.
    """
    generator, ids = seed_step(recipe.seed, state.step, fabric.global_rank), batch.ids()
    state.watch.begin(state.model.module, ids, state.step + 1)
    learning_rate = scheduled_rate(stage, step[1]) * rate_scale(recipe, stage)
    set_rate(state, learning_rate)

    source, adapted = _apply_mixing_and_teacher(recipe, state, batch.source, generator), None
    labelled = gather_labels(fabric, source, ids["source"])
    if state.adaptation is not None and batch.target is not None:
        passes = Passes(fabric, state, recipe.train.accumulate)
        output, total = passes.forward(source, len(ids["source"])), len(ids["target"])
        read = batch.target
        strong = replace(read, clips=dict(state.adaptation.strong_view(read.clips, generator)))
        outputs = (output, passes.forward(strong, total))
        seen = replace(
            _adaptation_batch(state, outputs, labelled, ids, stage, step, generator),
            weak=lambda module: gather_output(fabric, module(read.clips), total),
        )
        adapted = state.adaptation.losses(seen)
        classification = state.criterion(output, labelled, adapted.classified_B)
        loss = _class_weight(recipe, stage) * classification + recipe.adaptation.alignment_weight * adapted.alignment
        passes.backward(loss)
    else:
        output, classification = classify(fabric, state, source, labelled, recipe.train.accumulate)
        loss = classification
    if state.adaptation is not None:
        average_gradients(list(state.adaptation.alignment_parameters()), fabric)
    update_weights(fabric, recipe, state, loss)
    state.removed = adapted.removed if adapted else {}
    if adapted is not None:
        _step_agents(fabric, state, adapted)
    metrics = _metrics(output, labelled.labels, classification, adapted, learning_rate, recipe.classes.nouns)
    if state.agent_optimizer is not None:
        metrics |= {f"{agent}/skipped_updates": count for agent, count in state.agent_optimizer.skipped.items()}
    return metrics | later_updates(fabric, recipe, stage, state, batch, step)


def later_updates(
    fabric: Fabric, recipe: Recipe, stage: Stage, state: State, batch: Batch, step: tuple[int, int]
) -> dict[str, Tensor]:
    """Make the adaptation method's further updates of a step; most methods have none.

    Args:
        fabric: as `train_step`, like the rest.
        recipe: the resolved recipe.
        stage: of the recipe.
        state: is changed.
        batch: on the device.
        step: index of the stage, and step within it.

    Returns:
        Loss of each update.

    Raises:
        NotFiniteError: a loss or the gradient is not finite.
    """
    method = state.adaptation
    if method is None or batch.target is None:
        return {}
    metrics, ids = {}, batch.ids()
    generator = seed_step(recipe.seed, state.step, fabric.global_rank)
    updates = method.later_updates(state.model.module)
    source = _apply_mixing_and_teacher(recipe, state, batch.source, generator) if updates else batch.source
    labelled = gather_labels(fabric, source, ids["source"])
    for number, update in enumerate(updates, 1):
        state.watch.begin(state.model.module, ids, state.step + 1)
        state.optimizer.zero_grad(set_to_none=True)
        passes = Passes(fabric, state, recipe.train.accumulate)
        outputs = (
            passes.forward(batch.source, len(ids["source"])),
            passes.forward(batch.target, len(ids["target"])),
        )
        seen = _adaptation_batch(state, outputs, labelled, ids, stage, step, generator)
        loss = recipe.adaptation.alignment_weight * update.loss(seen)
        if update.classifies:
            loss = loss + _class_weight(recipe, stage) * state.criterion(outputs[0], labelled)
        passes.backward(loss)
        average_gradients(list(method.alignment_parameters()), fabric)
        moved = {id(parameter) for parameter in update.parameters}
        for group in state.optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in moved:
                    parameter.grad = None  # an optimiser leaves parameters without gradient alone
        update_weights(fabric, recipe, state, loss)
        metrics[f"loss_update_{number}"] = loss.detach()
    return metrics


def seed_step(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Seed torch for one step (dropout), and make a generator for the adaptation's own draws.

    Each step starts from its own seed, so a resumed run needs no random state, and two methods on the same seed see
    the same dropout masks whatever the agents drew in between. Processes differ in their dropout masks alone.

    Args:
        seed: of the recipe.
        step: of the run, from 0.
        rank: of the process.

    Returns:
        A CPU generator.
    """
    first = (seed * 1_000_003 + step) * 4096 * 2
    own = first + rank * 2
    # torch.manual_seed keeps a stack trace of every call for a GPU that is not there yet: a tenth of a small step
    torch.default_generator.manual_seed(own + 1)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch's
        torch.cuda.manual_seed_all(own + 1)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(own + 1)
    return torch.Generator().manual_seed(first)


def _apply_mixing_and_teacher(
    recipe: Recipe, state: State, source: LabelledClipBatch, generator: torch.Generator
) -> LabelledClipBatch:
    """Mix the labelled clips and add the teacher's soft labels, as the recipe says."""
    mixing = recipe.train.mixing
    mix = draw_mix(mixing.mixup, mixing.cutmix, mixing.probability, generator) if mixing else None
    mixed = mix_batch(source, mix) if mix else source
    return state.teacher.add_soft_labels(mixed) if state.teacher else mixed


def classify(
    fabric: Fabric, state: State, source: LabelledClipBatch, labelled: LabelledClipBatch, parts: int
) -> tuple[TwoHeadOutput, Tensor]:
    """Accumulate gradients of the classification loss over parts of the batch.

    The parts are equally large and every loss is a mean over clips, so their mean is the loss of the batch at once,
    but for what sees several clips together: batch norm has the statistics of a part.

    Args:
        fabric: with the device.
        state: with model and loss.
        source: labelled clips of this process.
        labelled: labels of the clips of all processes.
        parts: number of parts.

    Returns:
        Logits of all clips, without their graph, and the loss.
    """
    outputs, losses = [], []
    for number in range(parts):
        own, whole = _part(source, number, parts), _part(labelled, number, parts)
        with fabric.no_backward_sync(state.model, enabled=number < parts - 1):
            output = gather_output(fabric, state.model(own.clips), len(whole.narration_ids))
            loss = state.criterion(output, whole) / parts
            fabric.backward(loss)
        outputs.append((output.verb_logits_BV.detach(), output.noun_logits_BN.detach()))
        losses.append(loss.detach())
    verb, noun = (torch.cat(logits) for logits in zip(*outputs, strict=True))
    return TwoHeadOutput(verb, noun, {}), torch.stack(losses).sum()


def _part(batch: LabelledClipBatch, number: int, parts: int) -> LabelledClipBatch:
    size = len(batch.narration_ids) // parts
    return batch.rows(slice(number * size, (number + 1) * size)) if parts > 1 else batch


def _adaptation_batch(
    state: State,
    outputs: tuple[TwoHeadOutput, TwoHeadOutput],
    source: LabelledClipBatch,
    ids: dict[str, list[str]],
    stage: Stage,
    step: tuple[int, int],
    generator: torch.Generator,
) -> AdaptationBatch:
    """Collect what the adaptation method sees of a step."""
    return AdaptationBatch(
        source=outputs[0],
        target=outputs[1],
        verb_B=source.labels.verb_B,
        noun_B=source.labels.noun_B,
        progress=step[1] / stage.length,
        stage=step[0],
        step=state.step,
        generator=generator,
        model=state.model.module,
        source_ids=ids["source"],
        target_ids=ids["target"],
    )


def _class_weight(recipe: Recipe, stage: Stage) -> float:
    """Look up the weight of L_cls in a stage that adapts."""
    return recipe.train.class_weight if stage.class_weight is None else stage.class_weight


def _step_agents(fabric: Fabric, state: State, adapted: AdaptationLosses) -> None:
    """Step the agents on their own losses (Eq 7), apart from the model's."""
    assert state.adaptation is not None
    if adapted.agent_losses and state.agent_optimizer is not None:
        state.agent_optimizer.step(adapted.agent_losses, fabric)
    state.adaptation.after_step(state.step)


def _metrics(
    output: TwoHeadOutput,
    labels: Labels,
    classification: Tensor,
    adapted: AdaptationLosses | None,
    learning_rate: float,
    nouns: bool,
) -> Metrics:
    """Metrics of one batch; accuracies in percent, over the source batch, of nouns where it has some."""
    metrics: Metrics = {
        "learning_rate": learning_rate,
        "loss_classification": classification.detach(),
        "verb_accuracy": _top_1(output.verb_logits_BV, labels.verb_B),
    }
    if nouns:
        metrics["noun_accuracy"] = _top_1(output.noun_logits_BN, labels.noun_B)
    if adapted is not None:
        metrics["loss_alignment"] = adapted.alignment.detach()
        if adapted.agent_losses:  # the sum of those that are finite: a file of numbers has no word for the others
            losses = torch.stack(list(adapted.agent_losses.values())).detach()
            metrics["loss_agents"] = losses.nan_to_num(0.0, 0.0, 0.0).sum()
        metrics.update(adapted.logs)
    return metrics


def _top_1(logits_BC: Tensor, label_B: Tensor) -> Tensor:
    """Percent of clips whose highest logit is that of the label; checking the arguments would wait for the device."""
    classes = logits_BC.shape[1]
    share: Tensor = multiclass_accuracy(logits_BC.detach(), label_B, classes, average="micro", validate_args=False)
    return share * 100
