"""From the recipe's training methods to objects; with build.py, the only code here that reads a Recipe for that."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.annotations import Segment
from epicsub.data.samplers import balanced_weights
from epicsub.recipe import Recipe
from epicsub.training.averaging import WeightAverage
from epicsub.training.layers import Part, parameter_groups
from epicsub.training.losses import Criterion, HeadLoss


def label_counts(segments: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Segments of each verb (V,) and noun (N,)."""
    verbs = torch.tensor([segment.verb_class for segment in segments])
    nouns = torch.tensor(
        [segment.noun_class for segment in segments if segment.noun_class is not None], dtype=torch.long
    )
    return verbs.bincount(minlength=NUM_VERBS), nouns.bincount(minlength=NUM_NOUNS)


def action_table(recipe: Recipe, segments: Sequence[Segment]) -> Tensor | None:
    """Verb and noun of each action of the training list, (A, 2), sorted; None where the recipe has no action head."""
    if recipe.train.losses.action is None:
        return None
    pairs = sorted({(segment.verb_class, segment.noun_class) for segment in segments})
    return torch.tensor(pairs)


def criterion_of(recipe: Recipe, segments: Sequence[Segment]) -> Criterion:
    """The classification loss, with the class counts of the labelled segments."""
    losses, distillation = recipe.train.losses, recipe.train.distillation
    heads, weights = {}, {}
    for name, settings, counts in zip(
        ("verb", "noun"), (losses.verb, losses.noun), label_counts(segments), strict=True
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
    return Criterion(heads, weights, actions, soft, temperature, recipe.classes.verbs)


def source_weights(recipe: Recipe, source: list[Segment]) -> list[float] | None:
    """How often each labelled segment is drawn; None where all come equally often."""
    sampling = recipe.train.sampling
    if sampling.balance == "none":
        return None
    classes: dict[str | None, list[tuple[int | None, ...]]] = {
        "verb": [(segment.verb_class,) for segment in source],
        "noun": [(segment.noun_class,) for segment in source],
        "action": [(segment.verb_class, segment.noun_class) for segment in source],
    }
    return balanced_weights(classes[sampling.by], sampling.balance)


def average_of(recipe: Recipe, model: nn.Module) -> WeightAverage | None:
    """The average beside the model; None where the recipe has none."""
    settings = recipe.train.average
    if settings is None:
        return None
    return WeightAverage(model, **settings.model_dump(exclude_none=True, exclude={"bn_batches"}))


def parts_of(recipe: Recipe) -> list[Part]:
    """Parts with learning rates of their own, or frozen."""
    return [Part(part.name, part.rate, part.frozen_steps) for part in recipe.train.parts]


def trained_parameters(
    recipe: Recipe, model: nn.Module, aligned: Sequence[nn.Parameter]
) -> list[nn.Parameter] | list[dict[str, Any]]:
    """What the optimiser steps: one list, or groups with factors where the recipe tells layers or parts apart."""
    if not recipe.train.parts and recipe.train.layer_decay == 1.0:
        return [*model.parameters(), *aligned]
    groups = parameter_groups(model, parts_of(recipe), recipe.train.layer_decay)
    return [*groups, {"params": list(aligned), "rate_factor": 1.0}] if aligned else groups
