"""Scoring a set of predictions by a protocol, and saying the result: coverage first."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from epicsub.errors import ValidationError
from epicsub.files import write_text
from epicsub.predictions import Predictions
from epicsub.validation.protocol import Protocol
from epicsub.validation.scores import TASKS, join, official_scores, subsets
from epicsub.validation.tables import read_classes, read_labels, read_names


@dataclass(frozen=True)
class Evaluation:
    """The scores of one set of predictions, and over how much of the list they were taken."""

    protocol: str
    """the protocol's name"""
    segments: int
    """segments that were predicted"""
    of: int
    """segments that the list has"""
    scores: dict[str, float]
    """percent, under the organisers' names; a score over no segment is absent"""
    sizes: dict[str, int]
    """predicted segments in tail_verb, tail_noun, tail_action and unseen"""

    @property
    def coverage(self) -> str:
        """`coverage: 1347 of 9668`"""
        return f"coverage: {self.segments} of {self.of}"

    def as_json(self) -> dict[str, Any]:
        """The entry of this evaluation in the JSON report."""
        return {
            "protocol": self.protocol,
            "coverage": {"segments": self.segments, "of": self.of},
            "scores": self.scores,
        }


@dataclass(frozen=True)
class Reference:
    """What a protocol scores against, read once and used for any number of predictions."""

    protocol: str
    labels: pd.DataFrame
    tail_verbs: list[int]
    tail_nouns: list[int]
    unseen: list[str]

    def evaluate(self, predictions: Predictions) -> Evaluation:
        """Score predictions for all or a part of the list.

        Raises:
            ValidationError: predictions for segments outside the list.
        """
        groups = (self.tail_verbs, self.tail_nouns, self.unseen)
        rows = subsets(join(predictions, self.labels), *groups)
        return Evaluation(
            protocol=self.protocol,
            segments=len(predictions),
            of=len(self.labels),
            scores=official_scores(predictions, self.labels, *groups),
            sizes={name: int(counted.sum()) for name, counted in rows.items()},
        )


def read_reference(protocol: Protocol, annotations: Path, count: int | None = None) -> Reference:
    """Read the tables of a protocol; `count` takes the place of the number of segments that it states.

    Raises:
        ValidationError: tables that are missing or not what they should be; all at once.
    """
    folder = Path(annotations)
    readers = {
        "labels": lambda: read_labels(folder, protocol.validation, count),
        "tail_verbs": lambda: read_classes(folder / protocol.tail_verbs, "verb"),
        "tail_nouns": lambda: read_classes(folder / protocol.tail_nouns, "noun"),
        "unseen": lambda: read_names(folder / protocol.unseen_validation, "participant_id"),
    }
    read: dict[str, Any] = {}
    problems = []
    for name, reader in readers.items():
        try:
            read[name] = reader()
        except ValidationError as error:
            problems.append(str(error))
    if problems:
        raise ValidationError("\n".join(problems))
    return Reference(protocol=protocol.name, **read)


def evaluate(predictions: Predictions, protocol: Protocol, annotations: Path, count: int | None = None) -> Evaluation:
    """Score predictions for all or a part of the protocol's validation list.

    Raises:
        ValidationError: as `read_reference` and `Reference.evaluate`.
    """
    return read_reference(protocol, annotations, count).evaluate(predictions)


def show(name: str, evaluation: Evaluation, console: Console) -> None:
    """Print the coverage, then the table of one target's scores."""
    console.print(f"{evaluation.coverage} segments ({evaluation.protocol}, {name})", markup=False, highlight=False)
    console.print(table(evaluation))


def table(evaluation: Evaluation) -> Table:
    """Top-1 and top-5 in percent, with the number of segments behind each row; a row over none says so."""
    made = Table(box=box.SIMPLE_HEAD, title=evaluation.coverage, title_justify="left")
    made.add_column("percent")
    made.add_column("segments", justify="right")
    for task in TASKS:
        made.add_column(f"{task} top-1", justify="right")
        made.add_column("top-5", justify="right")
    made.add_row("all", str(evaluation.segments), *_cells(evaluation, "all"))
    unseen = evaluation.sizes["unseen"]
    made.add_row("unseen kitchens", str(unseen) if unseen else "none", *_cells(evaluation, "unseen"))
    tail = " / ".join(str(evaluation.sizes[f"tail_{task}"]) for task in TASKS)
    made.add_row("tail classes", tail, *_cells(evaluation, "tail"))
    return made


def write_json(evaluations: Mapping[str, Evaluation], path: Path) -> None:
    """Write `{target: {"protocol": ..., "coverage": ..., "scores": ...}}`, whole or not at all.

    Raises:
        ValidationError: the place cannot be written.
    """
    content = {name: evaluation.as_json() for name, evaluation in evaluations.items()}
    try:
        write_text(Path(path), json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ValidationError(f"{path}: cannot be written: {error.strerror or error}") from error


def _cells(evaluation: Evaluation, group: str) -> list[str]:
    names = (f"{group}_{task}_accuracy_at_{k}" for task in TASKS for k in (1, 5))
    return [f"{evaluation.scores[name]:.2f}" if name in evaluation.scores else "" for name in names]
