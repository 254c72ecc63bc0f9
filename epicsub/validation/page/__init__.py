"""The report as one HTML file that needs nothing else: no network, no other file, no framework."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epicsub.constants import ACTION_BASE
from epicsub.errors import ValidationError
from epicsub.io import write_text
from epicsub.predictions import Predictions
from epicsub.validation.bootstrap import Difference
from epicsub.validation.detail import Detail, chosen_classes
from epicsub.validation.figures import by_frequency, confidences
from epicsub.validation.report import Evaluation, Reference
from epicsub.validation.scores import ranked_verbs
from epicsub.validation.tables import Background

SCRIPTS = ("draw.js", "scores.js", "curves.js", "confusion.js", "classes.js", "mistakes.js", "main.js")
CURVE_POINTS = 400
MISTAKES = 24
"""confident mistakes that are shown of each model"""


@dataclass(frozen=True)
class Model:
    """One target of the report."""

    name: str
    predictions: Predictions
    evaluation: Evaluation
    detail: Detail
    metrics: list[dict[str, Any]]
    """lines of the run's metrics.jsonl; none for a file of predictions"""
    notes: tuple[str, ...] = ()
    """what a reader of the scores should know"""
    mean_of_last: Mapping[str, Any] = field(default_factory=dict)
    """mean scores of a run's last evaluations, with their steps and protocol; empty without"""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """kind, sha256 and, of a checkpoint, recipe, seed, step, commit and views"""
    boxes: Mapping[str, Any] = field(default_factory=dict)
    """coverage of the boxes by year, and scores of the segments with and without; empty where none are read"""


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

    Returns:
        Plain numbers and text, as main.js reads them.
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
    """Curves of a run's metrics.

    Args:
        metrics: lines of metrics.jsonl.

    Returns:
        `kind: figure` -> [step, value] points, thinned to at most `CURVE_POINTS` of each, the last one kept.
    """
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
    actions = labels["verb_class"] * ACTION_BASE + labels["noun_class"]
    columns = {"verb": labels["verb_class"], "noun": labels["noun_class"], "action": actions}
    return {
        task: {str(name): int(count) for name, count in values.value_counts().items()}
        for task, values in columns.items()
    }


def confident_mistakes(
    predictions: Predictions, reference: Reference, background: Background, most: int = MISTAKES
) -> list[dict[str, Any]]:
    """The segments that a model is most confident of and wrong about: actions, or verbs where there are no nouns.

    Args:
        predictions: for all or a part of the list.
        reference: labels to score against.
        background: class names.
        most: how many.

    Returns:
        Most confident first: id, kitchen, seconds (None if the list has no times), confidence and, for verb and noun,
        the true class, the predicted class and the probability of either.

    Raises:
        ValidationError: predictions for segments outside the list.
    """
    joined, hits = reference.hits(predictions)
    task = "action" if "action" in reference.tasks else "verb"
    verb_NV, verb_N = ranked_verbs(predictions, joined, reference.verbs)
    sure_N = confidences(verb_NV, predictions.noun_logprobs)[task]
    wrong = np.flatnonzero(~hits[task, 1])
    chosen = chosen_classes(predictions, reference)
    found: list[dict[str, Any]] = []
    for row in wrong[np.argsort(-sure_N[wrong], kind="stable")[:most]]:
        label = joined.iloc[row]
        heads: dict[str, dict[str, Any]] = {}
        for head in (name for name in ("verb", "noun") if name in reference.tasks):
            logprobs = {"verb": verb_NV, "noun": predictions.noun_logprobs}[head][row]
            column = verb_N[row] if head == "verb" else label["noun_class"]
            powers = np.exp(logprobs - logprobs.max(), dtype=np.float64)
            heads[head] = {
                "true": background.name(head, int(label[f"{head}_class"])),
                "given": background.name(head, int(chosen[head][row])),
                "right": bool(chosen[head][row] == label[f"{head}_class"]),
                "p_given": float(powers.max() / powers.sum()),
                "p_true": float(powers[column] / powers.sum()),
            }
        found.append(
            {
                "id": str(joined.index[row]),
                "kitchen": str(label["participant_id"]),
                "seconds": float(label["seconds"]) if "seconds" in joined else None,
                "confidence": float(sure_N[row]),
                **heads,
            }
        )
    return found


def write_page(folder: Path, data: Mapping[str, Any], pictures: Mapping[str, bytes | str]) -> Path:
    """Write `folder/index.html`, whole or not at all.

    Args:
        folder: made if need be.
        data: as `page_data` gives it.
        pictures: narration id -> JPEG, or in words why there is none.

    Returns:
        The path of the page.

    Raises:
        ValidationError: the place cannot be written.
    """
    path = Path(folder) / "index.html"
    write_text(path, _page(data, pictures), ValidationError)
    return path


def _page(data: Mapping[str, Any], pictures: Mapping[str, bytes | str]) -> str:
    """Text of the page. Its policy forbids every connection, so what is not in it cannot be fetched."""
    shown = {
        name: "data:image/jpeg;base64," + base64.b64encode(found).decode() if isinstance(found, bytes) else found
        for name, found in pictures.items()
    }
    content = json.dumps({**data, "pictures": shown}, separators=(",", ":"), allow_nan=False)
    parts = {
        "STYLE": _part("page.css"),
        "SCRIPT": "\n".join(_part(name) for name in SCRIPTS),
        # Inside a script element only "<" can end it: `</script>` or `<!--` in a name must not.
        "DATA": content.replace("<", "\\u003c"),
    }
    text = _part("page.html")
    for name, part in parts.items():
        before, mark, after = text.partition(f"/*{name}*/")
        assert mark, name
        text = before + part + after
    return text


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
