"""Figures beyond the organisers': class means, calibration, and accuracy by group of segments."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from epicsub.constants import ACTION_BASE
from epicsub.validation.protocol import TASKS
from epicsub.validation.scores import Hits
from epicsub.validation.tables import Background

BINS = 15
"""of confidence"""
CLASS_MEANS = {1: "class_mean_{}_accuracy_at_1", 5: "mean_{}_recall_at_5"}
LENGTH_EDGES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""seconds; half of EK100's validation segments are shorter than 2 s"""
HEAD_SHARE = 0.5
"""the most frequent classes that together hold this share of the training segments are the head"""


def task_classes(joined: pd.DataFrame) -> dict[str, np.ndarray]:
    """Classes of labelled segments for each task.

    Args:
        joined: one row for each of N segments, with `verb_class` and `noun_class`.

    Returns:
        (N,) int for "verb", "noun" and "action" (verb * 1000 + noun).
    """
    verb_N, noun_N = joined["verb_class"].to_numpy(), joined["noun_class"].to_numpy()
    return {"verb": verb_N, "noun": noun_N, "action": verb_N * ACTION_BASE + noun_N}


def class_mean(hit_N: np.ndarray, class_N: np.ndarray) -> float:
    """Mean, over the classes that have segments, of the share of hits in each.

    With hits at 1 this is the class-mean accuracy, with hits at 5 the mean top-5 recall (Furnari et al., "Leveraging
    Uncertainty to Rethink Loss Functions and Evaluation Measures for Egocentric Action Anticipation", 2018).

    Args:
        hit_N: (N,) bool.
        class_N: (N,) class of each segment.

    Returns:
        Percent.
    """
    _, codes = np.unique(class_N, return_inverse=True)
    return float(100 * np.mean(np.bincount(codes, weights=hit_N) / np.bincount(codes)))


def class_scores(hits: Hits, classes: dict[str, np.ndarray]) -> dict[str, float]:
    """Class means of every task.

    Args:
        hits: at 1 and at 5.
        classes: task -> (N,) class of each segment.

    Returns:
        `class_mean_{task}_accuracy_at_1` and `mean_{task}_recall_at_5`, in percent.
    """
    full = {key: hit_N for key, hit_N in hits.items() if len(hit_N)}
    return {CLASS_MEANS[k].format(task): class_mean(hit_N, classes[task]) for (task, k), hit_N in full.items()}


def class_table(
    class_N: np.ndarray, hit1_N: np.ndarray, hit5_N: np.ndarray, predicted_N: np.ndarray | None
) -> pd.DataFrame:
    """Figures of each class that has segments or is predicted.

    Args:
        class_N: (N,) class of the label.
        hit1_N: (N,) bool, whether it is the highest.
        hit5_N: (N,) bool, whether it is among the five highest.
        predicted_N: (N,) the highest class; None leaves precision and taken_for out.

    Returns:
        One row per class: class, segments, top1, top5, precision (percent), and taken_for, the wrong class that its
        segments are most often given, -1 for none. A figure over no segment is NaN.
    """
    present = np.union1d(class_N, class_N if predicted_N is None else predicted_N)
    codes = np.searchsorted(present, class_N)
    counts = np.bincount(codes, minlength=len(present))
    with np.errstate(invalid="ignore"):
        columns = {
            "class": present,
            "segments": counts,
            "top1": 100 * np.bincount(codes, hit1_N, len(present)) / counts,
            "top5": 100 * np.bincount(codes, hit5_N, len(present)) / counts,
        }
        if predicted_N is not None:
            matrix = confusion(codes, np.searchsorted(present, predicted_N), len(present))
            columns["precision"] = 100 * matrix.diagonal() / matrix.sum(axis=0)
            np.fill_diagonal(matrix, 0)
            columns["taken_for"] = np.where(matrix.any(axis=1), present[matrix.argmax(axis=1)], -1)
    return pd.DataFrame(columns)


def confusion(true_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> np.ndarray:
    """Count segments by true and predicted class.

    Args:
        true_N: (N,) class ids.
        predicted_N: (N,) class ids.
        classes: how many there are.

    Returns:
        (classes, classes) int, true class by predicted class.
    """
    flat = np.bincount(true_N * classes + predicted_N, minlength=classes * classes)
    return flat.reshape(classes, classes)


@dataclass(frozen=True)
class Reliability:
    """Segments, mean confidence and accuracy in each of `BINS` equal steps of confidence, (BINS,) each.

    Confidence and accuracy are in 0 to 1, and NaN in an empty bin.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error in percent: the mean gap of confidence and accuracy, weighted by counts.

        Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3.
        """
        full = self.counts > 0
        gap = np.abs(self.accuracy[full] - self.confidence[full])
        return float(100 * np.average(gap, weights=self.counts[full]))


def reliability(confidence_N: np.ndarray, hit_N: np.ndarray) -> Reliability:
    """Compare how sure a model is of its highest class with how often it is right.

    A confidence on the border of two bins belongs to the lower one, as in the paper: bins are (low, high].

    Args:
        confidence_N: (N,) probability of the highest class.
        hit_N: (N,) bool, whether it is right.

    Returns:
        The reliability curve.
    """
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bin_N, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bin_N, confidence_N, BINS) / counts
        accuracy = np.bincount(bin_N, hit_N, BINS) / counts
    return Reliability(counts, confidence, accuracy)


def confidences(verb_NV: np.ndarray, noun_NM: np.ndarray) -> dict[str, np.ndarray]:
    """Probability of the highest class.

    Args:
        verb_NV: (N, V) log-probabilities of the ranked verbs.
        noun_NM: (N, M) log-probabilities.

    Returns:
        (N,) of the highest verb among those given, noun, and (action) of the pair of both.
    """
    verb_N, noun_N = _highest(verb_NV), _highest(noun_NM)
    return {"verb": verb_N, "noun": noun_N, "action": verb_N * noun_N}


def _highest(logprobs_NC: np.ndarray) -> np.ndarray:
    powers_NC = np.exp(logprobs_NC - logprobs_NC.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(1 / powers_NC.sum(axis=1))


@dataclass(frozen=True)
class Grouping:
    """One way to part the segments."""

    name: str
    order: list[str]
    """the groups, as they are shown"""
    of_task: dict[str, np.ndarray]
    """task -> (N,) str, the group of each segment"""


def groupings(
    joined: pd.DataFrame,
    background: Background,
    tasks: Collection[str],
    tail_verbs: Collection[int],
    tail_nouns: Collection[int],
) -> tuple[list[Grouping], tuple[str, ...]]:
    """Group segments by kitchen, frame rate, length, training frequency, and whether training has the action.

    Args:
        joined: labels of N segments.
        background: training frequencies and frame rates, as far as they are there.
        tasks: that are scored.
        tail_verbs: rare verb classes.
        tail_nouns: rare noun classes.

    Returns:
        The groupings that the tables allow, and what is left out for lack of times.
    """
    found, notes = [_by_kitchen(joined)], []
    if background.fps is not None:
        found.append(_by_frame_rate(joined, background.fps))
    if "seconds" in joined:
        found.append(_by_length(joined))
    else:
        notes.append("no scores by length: the list has no start_timestamp and stop_timestamp")
    if background.training is not None and "action" in tasks:
        found.append(by_frequency(joined, background.training, tail_verbs, tail_nouns))
        found.append(_by_seen_action(joined, background.training))
    return found, tuple(notes)


def _by_kitchen(joined: pd.DataFrame) -> Grouping:
    """By participant."""
    return _same_for_all("kitchen", joined["participant_id"].to_numpy(dtype=str))


def _by_frame_rate(joined: pd.DataFrame, fps: Mapping[str, float]) -> Grouping:
    """By frame rate as EPIC_100_video_info.csv has it; `unknown` for a video that it lacks."""
    rates = [f"{fps[video]:.2f}" if video in fps else "unknown" for video in joined["video_id"]]
    return _same_for_all("frame rate", np.array(rates))


def _by_length(joined: pd.DataFrame) -> Grouping:
    """By length in seconds."""
    names = [f"under {LENGTH_EDGES[0]:g} s"]
    names += [f"{low:g} to {high:g} s" for low, high in pairwise(LENGTH_EDGES)]
    names += [f"{LENGTH_EDGES[-1]:g} s and more"]
    group_N = np.array(names)[np.digitize(joined["seconds"], LENGTH_EDGES)]
    return Grouping("length", names, dict.fromkeys(TASKS, group_N))


def by_frequency(
    joined: pd.DataFrame, training: pd.DataFrame, tail_verbs: Collection[int], tail_nouns: Collection[int]
) -> Grouping:
    """Group segments into head, middle and tail: verb and noun by their classes, an action by both.

    The tail is the organisers' list. The head is the fewest classes that hold `HEAD_SHARE` of the training segments
    (without those of the tail). An action is in the tail if its verb or noun is, as the organisers say, in the head
    if both are.

    Args:
        joined: labels of N segments.
        training: verb_class and noun_class of the training list.
        tail_verbs: rare verb classes.
        tail_nouns: rare noun classes.

    Returns:
        The grouping.
    """
    part_of = {
        task: _frequency_parts(joined[f"{task}_class"], training[f"{task}_class"], tail)
        for task, tail in (("verb", tail_verbs), ("noun", tail_nouns))
    }
    lower = np.minimum(part_of["verb"], part_of["noun"])
    names = np.array(["tail", "middle", "head"])
    groups = {task: names[part] for task, part in (part_of | {"action": lower}).items()}
    return Grouping("training frequency", ["head", "middle", "tail"], groups)


def _by_seen_action(joined: pd.DataFrame, training: pd.DataFrame) -> Grouping:
    """By whether the training list has a segment of the same verb and noun."""
    seen_N = np.isin(task_classes(joined)["action"], task_classes(training)["action"])
    group_N = np.where(seen_N, "seen in training", "never seen")
    return Grouping("action", ["seen in training", "never seen"], dict.fromkeys(TASKS, group_N))


def breakdown(hits: Hits, grouping: Grouping) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy of each group.

    Args:
        hits: at 1 and at 5.
        grouping: of the same segments.

    Returns:
        group -> task -> {segments, top1, top5}, in percent; a group without segments is left out.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group in grouping.order:
        for task in dict.fromkeys(task for task, _ in hits):
            rows = grouping.of_task[task] == group
            if rows.any():
                found.setdefault(group, {})[task] = {
                    "segments": int(rows.sum()),
                    "top1": float(100 * hits[task, 1][rows].mean()),
                    "top5": float(100 * hits[task, 5][rows].mean()),
                }
    return found


def _same_for_all(name: str, group_N: np.ndarray) -> Grouping:
    return Grouping(name, sorted(set(group_N.tolist())), dict.fromkeys(TASKS, group_N))


def _frequency_parts(class_N: pd.Series, training: pd.Series, tail: Collection[int]) -> np.ndarray:
    """(N,) int: 2 head, 1 middle, 0 tail."""
    counts = training.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    before = counts.cumsum() - counts
    head = set(counts.index[before < HEAD_SHARE * counts.sum()]) - set(tail)
    return np.where(class_N.isin(list(tail)), 0, np.where(class_N.isin(list(head)), 2, 1))
