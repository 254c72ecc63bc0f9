"""Scoring a set of predictions by a protocol."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epicsub.errors import ValidationError
from epicsub.predictions import Predictions
from epicsub.validation.protocol import TASKS, Protocol
from epicsub.validation.scores import Hits, hits_of, join, scores_of
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
        """`coverage: 1347 of 9668`."""
        return f"coverage: {self.segments} of {self.of}"

    def as_json(self) -> dict[str, Any]:
        """The evaluation as plain numbers.

        Returns:
            protocol, coverage and scores, as they stand in the JSON report.
        """
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
    tail_verbs: Collection[int]
    tail_nouns: Collection[int]
    unseen: Collection[str]
    """participants without training videos"""
    tasks: tuple[str, ...] = TASKS
    verbs: tuple[int, ...] | None = None
    """the only verbs that are ranked; None: all 97"""

    def evaluate(self, predictions: Predictions) -> Evaluation:
        """Score predictions for all or a part of the list.

        Args:
            predictions: for all or a part of the list.

        Returns:
            Scores and coverage.

        Raises:
            ValidationError: predictions for segments outside the list.
        """
        joined, hits = self.hits(predictions)
        rows = self.subsets(joined)
        return Evaluation(
            protocol=self.protocol,
            segments=len(predictions),
            of=len(self.labels),
            scores=scores_of(hits, rows),
            sizes={name: int(counted.sum()) for name, counted in rows.items()},
        )

    def hits(self, predictions: Predictions) -> tuple[pd.DataFrame, Hits]:
        """Join the labels, and find which of them are hit.

        Args:
            predictions: for all or a part of the list, N segments.

        Returns:
            The labels in the order of `predictions`, and (task, k) -> (N,) bool.

        Raises:
            ValidationError: predictions for segments outside the list.
        """
        joined = join(predictions, self.labels, self.tasks, self.verbs)
        return joined, hits_of(predictions, joined, self.tasks, self.verbs)

    def counted_hits(self, predictions: Predictions, score: str) -> np.ndarray:
        """Find the hits that one score counts.

        Args:
            predictions: for all or a part of the list.
            score: name of one of the organisers' scores, such as tail_action_accuracy_at_1.

        Returns:
            (S,) bool, in the order of `predictions`.
        """
        group, task, *_, k = score.split("_")
        joined, hits = self.hits(predictions)
        rows = self.subsets(joined)
        chosen = {"tail": rows.get(f"tail_{task}"), "unseen": rows.get("unseen")}.get(group)
        hits_N = hits[task, int(k)]
        return hits_N if chosen is None else hits_N[chosen]

    def subsets(self, joined: pd.DataFrame) -> dict[str, np.ndarray]:
        """Find the rows that the tail and unseen scores count; an action is in the tail if its verb or its noun is.

        Args:
            joined: labels of N segments.

        Returns:
            tail_verb, tail_noun, tail_action, unseen -> (N,) bool.
        """
        of_verb = joined["verb_class"].isin(list(self.tail_verbs)).to_numpy(dtype=bool)
        of_noun = joined["noun_class"].isin(list(self.tail_nouns)).to_numpy(dtype=bool)
        unseen = joined["participant_id"].isin(list(self.unseen)).to_numpy(dtype=bool)
        return {"tail_verb": of_verb, "tail_noun": of_noun, "tail_action": of_verb | of_noun, "unseen": unseen}


def read_reference(protocol: Protocol, annotations: Path, count: int | None = None) -> Reference:
    """Read the tables that a protocol scores against.

    Args:
        protocol: names the tables.
        annotations: their folder.
        count: number of labelled segments, in place of the one that the protocol states.

    Returns:
        Labels, tail classes and unseen kitchens.

    Raises:
        ValidationError: tables that are missing or not what they should be; all at once.
    """
    folder = Path(annotations)
    readers: dict[str, Callable[[], Any]] = {
        "labels": lambda: read_labels(folder, protocol.validation, count, protocol.tasks),
        "tail_verbs": lambda: read_classes(folder / protocol.tail_verbs, "verb") if protocol.tail_verbs else [],
        "tail_nouns": lambda: read_classes(folder / protocol.tail_nouns, "noun") if protocol.tail_nouns else [],
        "unseen": lambda: (
            read_names(folder / protocol.unseen_validation, "participant_id") if protocol.unseen_validation else []
        ),
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
    return Reference(protocol=protocol.name, tasks=protocol.tasks, verbs=protocol.verbs, **read)


def evaluate(predictions: Predictions, protocol: Protocol, annotations: Path, count: int | None = None) -> Evaluation:
    """Score predictions for all or a part of the protocol's validation list.

    Args:
        predictions: for all or a part of the list.
        protocol: names the tables.
        annotations: their folder.
        count: as in `read_reference`.

    Returns:
        Scores and coverage.

    Raises:
        ValidationError: as `read_reference` and `Reference.evaluate`.
    """
    return read_reference(protocol, annotations, count).evaluate(predictions)
