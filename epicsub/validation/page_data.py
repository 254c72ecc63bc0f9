"""What the HTML report shows, as plain numbers and text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from epicsub.predictions import Predictions
from epicsub.validation.background import Background
from epicsub.validation.compare import Difference
from epicsub.validation.detail import Detail
from epicsub.validation.groups import by_frequency
from epicsub.validation.mistakes import confident_mistakes
from epicsub.validation.report import Evaluation, Reference

CURVE_POINTS = 400


@dataclass(frozen=True)
class Model:
    """One target of the report."""

    name: str
    predictions: Predictions
    evaluation: Evaluation
    detail: Detail
    metrics: list[dict[str, Any]]
    """lines of the run's metrics.jsonl; none for a file of predictions"""


def page_data(
    models: list[Model],
    comparisons: Mapping[str, tuple[int, list[Difference]]],
    reference: Reference,
    background: Background,
    selection: str,
) -> dict[str, Any]:
    """Everything on the page but the pictures.

    Args:
        models: the first is the one that others are compared with.
        comparisons: name of each other model -> segments in common, differences.
        reference: what was scored against.
        background: class names and training frequencies.
        selection: the protocol's words on what a choice may read.
    """
    return {
        "protocol": reference.protocol,
        "selection": selection,
        "of": len(reference.labels),
        "tasks": list(reference.tasks),
        "models": [_model(model, reference, background) for model in models],
        "comparisons": [
            {"model": name, "segments": segments, "rows": [_difference(found) for found in differences]}
            for name, (segments, differences) in comparisons.items()
        ],
        "classes": {task: _class_names(models, task, background) for task in reference.tasks},
        "parts": _parts(models, reference, background),
        "training": _training_counts(background),
    }


def _model(model: Model, reference: Reference, background: Background) -> dict[str, Any]:
    more = model.detail.as_json()
    scores = model.evaluation.scores | more.pop("scores")
    return more | {
        "name": model.name,
        "segments": model.evaluation.segments,
        "sizes": model.evaluation.sizes,
        "scores": scores,
        "tables": {task: _rows(table) for task, table in model.detail.classes.items()},
        "curves": curves(model.metrics),
        "mistakes": confident_mistakes(model.predictions, reference, background),
    }


def curves(metrics: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """`kind: figure` -> [step, value] points, thinned to at most `CURVE_POINTS` of each, its last one kept."""
    found: dict[str, list[list[float]]] = {}
    for line in metrics:
        for name, value in line.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if name not in ("step", "kind", "stage") and number and np.isfinite(value):
                found.setdefault(f"{line['kind']}: {name}", []).append([line["step"], value])
    return {name: _thinned(points) for name, points in found.items()}


def _thinned(points: list[list[float]]) -> list[list[float]]:
    if len(points) <= CURVE_POINTS:
        return points
    return [points[at] for at in np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(int)]


def _rows(table: pd.DataFrame) -> list[list[float | None]]:
    """class, segments, top1, top5 and, for verb and noun, precision and taken_for; None for no figure."""
    return [[None if pd.isna(value) else round(float(value), 2) for value in row] for row in table.to_numpy()]


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "name": found.name,
        "first": found.first,
        "second": found.second,
        "interval": [found.interval.low, found.interval.high] if found.interval else None,
        "p_bootstrap": found.p_bootstrap,
        "only_first": found.only_first,
        "only_second": found.only_second,
        "p_mcnemar": found.p_mcnemar,
        "verdict": found.verdict,
    }


def _class_names(models: list[Model], task: str, background: Background) -> dict[str, str]:
    present = sorted({int(name) for model in models for name in model.detail.classes[task]["class"]})
    return {str(name): background.name(task, name) for name in present}


def _parts(models: list[Model], reference: Reference, background: Background) -> dict[str, dict[str, str]]:
    """verb, noun -> class -> head, middle or tail; empty without a training list."""
    if background.training is None or "noun" not in reference.tasks:
        return {}
    tails = (reference.tail_verbs, reference.tail_nouns)
    found = {}
    for task in ("verb", "noun"):
        classes = sorted({int(name) for model in models for name in model.detail.classes[task]["class"]})
        table = pd.DataFrame({"verb_class": classes, "noun_class": classes})
        parts = by_frequency(table, background.training, *tails).of_task[task]
        found[task] = {str(name): str(part) for name, part in zip(classes, parts, strict=True)}
    return found


def _training_counts(background: Background) -> dict[str, dict[str, int]]:
    """verb, noun, action -> class -> segments in training; empty without a training list."""
    if background.training is None:
        return {}
    labels = background.training
    actions = labels["verb_class"] * 1000 + labels["noun_class"]
    columns = {"verb": labels["verb_class"], "noun": labels["noun_class"], "action": actions}
    return {
        task: {str(name): int(count) for name, count in values.value_counts().items()}
        for task, values in columns.items()
    }
