"""All figures of one set of predictions beyond the organisers' twelve."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.predictions import Predictions
from epicsub.validation.bootstrap import Interval, VideoBootstrap, bootstrap_videos, interval
from epicsub.validation.figures import (
    CLASS_MEANS,
    Reliability,
    breakdown,
    class_scores,
    class_table,
    confidences,
    confusion,
    groupings,
    reliability,
    task_classes,
)
from epicsub.validation.report import Reference
from epicsub.validation.scores import Hits, ranked_verbs
from epicsub.validation.tables import Background


@dataclass(frozen=True)
class Detail:
    """Figures of one set of predictions; percent, but for the curves of reliability, which are in 0 to 1."""

    scores: dict[str, float]
    """class-mean accuracy, mean top-5 recall and expected calibration error"""
    intervals: dict[str, Interval]
    """of the organisers' scores and of `scores`, by resampling videos; a figure without one is absent"""
    videos: int
    """how many were resampled"""
    groups: dict[str, dict[str, dict[str, dict[str, float]]]]
    """kitchen, frame rate, ... -> group -> task -> segments, top1, top5"""
    reliability: dict[str, Reliability]
    """by task"""
    confusion: dict[str, np.ndarray]
    """verb (97, 97) and noun (300, 300): segments of each true class (row) by predicted class (column)"""
    classes: dict[str, pd.DataFrame]
    """by task: a row a class, as `class_table`"""
    notes: tuple[str, ...]
    """what is left out, and why"""

    def as_json(self) -> dict[str, Any]:
        """The figures as plain numbers.

        Returns:
            The content of `detail` in the JSON report; a confusion is a list of [true, predicted, segments] without the
            zeros.
        """
        return {
            "scores": self.scores,
            "intervals": {name: [found.low, found.high] for name, found in self.intervals.items()},
            "interval_videos": self.videos,
            "groups": self.groups,
            "reliability": {
                task: [
                    {"confidence": float(confidence), "accuracy": float(accuracy), "segments": int(count)}
                    for count, confidence, accuracy in zip(curve.counts, curve.confidence, curve.accuracy, strict=True)
                    if count
                ]
                for task, curve in self.reliability.items()
            },
            "confusion": {task: _cells(matrix) for task, matrix in self.confusion.items()},
            "notes": list(self.notes),
        }


def _cells(matrix: np.ndarray) -> list[list[int]]:
    """[row, column, count] of every cell that is not zero."""
    rows, columns = np.nonzero(matrix)
    found: list[list[int]] = np.stack([rows, columns, matrix[rows, columns]], axis=1).tolist()
    return found


def detail(
    predictions: Predictions, reference: Reference, background: Background, remarks: Sequence[str] = ()
) -> Detail:
    """Measure everything about one set of predictions.

    Args:
        predictions: for all or a part of the list.
        reference: labels to score against.
        background: training frequencies, frame rates and class names, as far as they are there.
        remarks: come first among the notes.

    Returns:
        The figures beyond the organisers'.

    Raises:
        ValidationError: predictions for segments outside the list.
    """
    joined, hits = reference.hits(predictions)
    classes = task_classes(joined)
    verb_NV, _ = ranked_verbs(predictions, joined, reference.verbs)
    chosen = chosen_classes(predictions, reference)
    confidence = confidences(verb_NV, predictions.noun_logprobs)
    curves = {task: reliability(confidence[task], hits[task, 1]) for task in reference.tasks}
    parts, notes = groupings(joined, background, reference.tasks, reference.tail_verbs, reference.tail_nouns)
    samples = bootstrap_videos(joined["video_id"].to_numpy())
    sizes = {"verb": NUM_VERBS, "noun": NUM_NOUNS}
    return Detail(
        scores=class_scores(hits, classes)
        | {f"{task}_calibration_error": curve.error for task, curve in curves.items()},
        intervals=_intervals(hits, classes, reference.subsets(joined), samples),
        videos=samples.videos,
        groups={grouping.name: breakdown(hits, grouping) for grouping in parts},
        reliability=curves,
        confusion={
            task: confusion(classes[task], chosen[task], sizes[task]) for task in reference.tasks if task in sizes
        },
        classes={
            task: class_table(classes[task], hits[task, 1], hits[task, 5], None if task == "action" else chosen[task])
            for task in reference.tasks
        },
        notes=(*remarks, *background.notes, *notes),
    )


def chosen_classes(predictions: Predictions, reference: Reference) -> dict[str, np.ndarray]:
    """The highest verb and noun of each segment, the last of equals as the organisers have it.

    Args:
        predictions: N segments.
        reference: says which verbs are ranked.

    Returns:
        verb, noun -> (N,) class ids.
    """
    verbs = np.arange(NUM_VERBS) if reference.verbs is None else np.array(sorted(reference.verbs))
    return {
        "verb": verbs[_last_argmax(predictions.verb_logprobs[:, verbs])],
        "noun": _last_argmax(predictions.noun_logprobs),
    }


def _last_argmax(scores_NC: np.ndarray) -> np.ndarray:
    return np.asarray(scores_NC.shape[1] - 1 - scores_NC[:, ::-1].argmax(axis=1))


def _intervals(
    hits: Hits, classes: dict[str, np.ndarray], rows: dict[str, np.ndarray], samples: VideoBootstrap
) -> dict[str, Interval]:
    if samples.videos < 2:
        return {}
    drawn = {}
    for (task, k), hit_N in hits.items():
        drawn[f"all_{task}_accuracy_at_{k}"] = samples.accuracy(hit_N)
        if k == 1:
            drawn[f"tail_{task}_accuracy_at_1"] = samples.accuracy(hit_N, rows[f"tail_{task}"])
            drawn[f"unseen_{task}_accuracy_at_1"] = samples.accuracy(hit_N, rows["unseen"])
        drawn[CLASS_MEANS[k].format(task)] = samples.class_mean(hit_N, classes[task])
    return {name: found for name, samples_S in drawn.items() if (found := interval(samples_S))}
