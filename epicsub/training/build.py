"""From the recipe's settings to model, adaptation method, losses, optimisers and their learning rates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from epicsub.adaptation import METHODS, AdaptationMethod, RuleRemoval
from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.annotations import Segment, read_ids
from epicsub.data.domains import noun_of
from epicsub.errors import TrainingError
from epicsub.io import user_path
from epicsub.models.build import build_model
from epicsub.models.heads import Actions, Classes
from epicsub.models.table import MODELS
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe import Recipe, Stage
from epicsub.recipe.adaptation import OracleAdaptation
from epicsub.training.agents import AgentOptimizers
from epicsub.training.layers import Part, parameter_groups
from epicsub.training.losses import Criterion, HeadLoss
from epicsub.training.selection import WeightAverage

ParameterGroups = list[nn.Parameter] | list[dict[str, Any]]


def model_of(recipe: Recipe, weights: bool, actions: Tensor | None = None) -> nn.Module:
    """Build the recipe's model.

    Args:
        recipe: the resolved recipe.
        weights: False leaves out the published weights: a checkpoint's follow.
        actions: verb and noun of each action (A, 2), for recipes with a third head (train.losses.action).

    Returns:
        The model, on torch's default device.

    Raises:
        TrainingError: the recipe has a third head, and `actions` are not given.
        ModelError: the network cannot take the recipe's clips, or published weights are not there.
    """
    settings, third = recipe.model, recipe.train.losses.action
    joint = None
    if third is not None:
        if actions is None:
            raise TrainingError("the recipe has a third head (train.losses.action), and no table of actions is given")
        joint = Actions(actions, third.fold, third.dropout)
    classes = Classes(verbs=recipe.classes.verbs, nouns=recipe.classes.nouns, actions=joint)
    two = recipe.adaptation.method == "mcd"
    model = build_model(
        modalities=tuple(recipe.data.modalities),
        load_weights=weights,
        classes=replace(classes, actions=None) if two else classes,  # the outer model has the head over actions
        **settings.model_dump(),
        **{name: getattr(recipe.data, name) for name in MODELS[settings.name].clip},
    )
    if two:
        inside = settings.name in ("frame_lstm", "frame_transformer")  # whose dropout is not before the heads
        model = TwoClassifiers(model, 0.0 if inside else settings.dropout, classes)
    return model


def adaptation_of(recipe: Recipe, model: nn.Module, source: Sequence[Segment] = ()) -> AdaptationMethod | None:
    """Build the recipe's adaptation method.

    Args:
        recipe: the resolved recipe.
        model: whose features are adapted.
        source: labelled segments, for methods that want their shares of classes; none tells nothing.

    Returns:
        The method, or None where nothing is adapted.

    Raises:
        AdaptationError: the method does not fit the model.
    """
    settings = recipe.adaptation
    if isinstance(settings, OracleAdaptation):
        dims = cast("dict[str, int]", model.feature_dims)
        return RuleRemoval(dims, settings, read_ids(user_path(settings.outliers), "narration_id"))
    kind = METHODS.get(type(settings))
    method = None if kind is None else kind.for_model(model, settings)
    if method is not None and source:
        method.count_labels(*_labels_of(source))
    return method


def trained_parameters(recipe: Recipe, model: nn.Module, aligned: Sequence[nn.Parameter]) -> ParameterGroups:
    """Collect what the optimiser steps.

    Args:
        recipe: with `train.parts` and `train.layer_decay`.
        model: the model.
        aligned: parameters of the adaptation method that the same optimiser steps.

    Returns:
        One list, or groups {"params", "rate_factor"} where the recipe tells layers or parts apart.

    Raises:
        TrainingError: parts that the model does not have, or that leave nothing to train.
    """
    if not recipe.train.parts and recipe.train.layer_decay == 1.0:
        return [*model.parameters(), *aligned]
    groups = parameter_groups(model, parts_of(recipe), recipe.train.layer_decay)
    return [*groups, {"params": list(aligned), "rate_factor": 1.0}] if aligned else groups


def parts_of(recipe: Recipe) -> list[Part]:
    """List the parts of the model with a learning rate of their own, or frozen.

    Args:
        recipe: with `train.parts`.

    Returns:
        The parts, in the recipe's order.
    """
    return [Part(part.name, part.rate, part.frozen_steps) for part in recipe.train.parts]


def optimizer_of(recipe: Recipe, parameters: ParameterGroups, fused: bool = False) -> Optimizer:
    """Build the optimiser of model and domain discriminators; the schedule sets its learning rate at each step.

    Args:
        recipe: with `train.optimizer`.
        parameters: see `trained_parameters`.
        fused: step all weights in one kernel.

    Returns:
        The optimiser, with a learning rate of 0.
    """
    settings = recipe.train.optimizer
    if settings.name == "sgd":
        return SGD(parameters, lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=fused)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[settings.name]
    return kind(parameters, lr=0.0, betas=(settings.momentum, 0.999), weight_decay=settings.weight_decay, fused=fused)


def scheduled_rate(stage: Stage, step: int) -> float:
    """Compute the learning rate of a step: linear warm-up, then constant or a cosine that reaches 0 after the last.

    Args:
        stage: with the schedule.
        step: within the stage, from 0.

    Returns:
        The rate.
    """
    if step < stage.warmup_steps:
        return stage.learning_rate * (step + 1) / stage.warmup_steps
    if stage.schedule == "constant":
        return stage.learning_rate
    share = (step - stage.warmup_steps) / (stage.length - stage.warmup_steps)
    return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def rate_scale(recipe: Recipe, stage: Stage) -> float:
    """Compute the factor of a stage's learning rates: its labelled clips per step over those the rates are meant for.

    The linear rule of arXiv 1706.02677, section 2.1. A step's clips are those of all devices and accumulated parts.

    Args:
        recipe: with `train.rate_batch`.
        stage: of the recipe.

    Returns:
        1 where the recipe has no such batch.
    """
    return 1.0 if recipe.train.rate_batch is None else stage.source_batch / recipe.train.rate_batch


def scaled_rate_notes(recipe: Recipe) -> list[str]:
    """Describe the learning rates that are scaled.

    Args:
        recipe: with `train.rate_batch`.

    Returns:
        A line per stage.
    """
    meant = recipe.train.rate_batch
    return [
        f"stage {number}: learning rate {stage.learning_rate:g} is meant for {meant} clips per step, this one takes "
        f"{stage.source_batch}: {stage.learning_rate * rate_scale(recipe, stage):g}"
        for number, stage in enumerate(recipe.train.stages, 1)
        if meant is not None
    ]


def agent_optimizer_of(recipe: Recipe, parameters: Mapping[str, Sequence[nn.Parameter]]) -> AgentOptimizers | None:
    """Build the agents' own optimisers.

    Args:
        recipe: with `adaptation`.
        parameters: of each agent, by name.

    Returns:
        The optimisers, or None without agents.
    """
    settings = recipe.adaptation
    if settings.method != "mmir" or not parameters:
        return None
    return AgentOptimizers(parameters, settings.agent_lr, settings.agent_momentum, settings.agent_clip_grad)


def average_of(recipe: Recipe, model: nn.Module) -> WeightAverage | None:
    """Build the average of the model's weights.

    Args:
        recipe: with `train.average`.
        model: is copied.

    Returns:
        The average, or None where the recipe has none.
    """
    settings = recipe.train.average
    if settings is None:
        return None
    return WeightAverage(model, **settings.model_dump(exclude_none=True, exclude={"bn_batches"}))


def criterion_of(recipe: Recipe, segments: Sequence[Segment]) -> Criterion:
    """Build the classification loss.

    Args:
        recipe: with `train.losses` and `train.distillation`.
        segments: labelled, for the class counts.

    Returns:
        The loss of all heads.
    """
    losses, distillation = recipe.train.losses, recipe.train.distillation
    heads, weights = {}, {}
    for name, settings, counts in zip(
        ("verb", "noun"), (losses.verb, losses.noun), _label_counts(segments), strict=True
    ):
        if name == "noun" and not recipe.classes.nouns:
            continue
        given = settings.model_dump(exclude_none=True, exclude={"weight", "class_weights"})
        heads[name] = HeadLoss(counts, weights=settings.class_weights, **given)
        weights[name] = settings.weight
    actions = action_table(recipe, segments)
    if actions is not None and losses.action is not None:
        heads["action"] = HeadLoss(torch.ones(len(actions)))
        weights["action"] = losses.action.weight
    soft, temperature = (distillation.weight, distillation.temperature) if distillation else (0.0, 1.0)
    window = 0.1 if losses.window is None else losses.window
    return Criterion(heads, weights, actions, soft, temperature, recipe.classes.verbs, window)


def action_table(recipe: Recipe, segments: Sequence[Segment]) -> Tensor | None:
    """List the actions of the training list.

    Args:
        recipe: with `train.losses.action`.
        segments: labelled.

    Returns:
        Verb and noun of each action, (A, 2), sorted; None where the recipe has no action head.
    """
    if recipe.train.losses.action is None:
        return None
    pairs = sorted({(segment.verb_class, segment.noun_class) for segment in segments})
    return torch.tensor(pairs)


def _labels_of(segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Verb and noun of each segment, (S,) int64; nouns are `domains.NO_LABEL` where the lists have none."""
    return torch.tensor([s.verb_class for s in segments]), torch.tensor([noun_of(s) for s in segments])


def _label_counts(segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Segments of each verb (V,) and noun (N,)."""
    verbs = torch.tensor([segment.verb_class for segment in segments])
    nouns = torch.tensor(
        [segment.noun_class for segment in segments if segment.noun_class is not None], dtype=torch.long
    )
    return verbs.bincount(minlength=NUM_VERBS), nouns.bincount(minlength=NUM_NOUNS)
