"""Accuracy by kitchen, frame rate, length, frequency in training, and whether training has the action."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from epicsub.validation.classwise import task_classes
from epicsub.validation.protocol import TASKS
from epicsub.validation.scores import Hits

LENGTH_EDGES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""seconds; half of EK100's validation segments are shorter than 2 s"""
HEAD_SHARE = 0.5
"""the most frequent classes that together hold this share of the training segments are the head"""

Groups = dict[str, np.ndarray]
"""task -> (N,) str, the group of each segment"""


@dataclass(frozen=True)
class Grouping:
    """One way to part the segments."""

    name: str
    order: list[str]
    """the groups, as they are shown"""
    of_task: Groups


def by_kitchen(joined: pd.DataFrame) -> Grouping:
    """By participant."""
    return _same_for_all("kitchen", joined["participant_id"].to_numpy(dtype=str))


def by_frame_rate(joined: pd.DataFrame, fps: Mapping[str, float]) -> Grouping:
    """By the video's frame rate as EPIC_100_video_info.csv states it; `unknown` for a video that it lacks."""
    rates = [f"{fps[video]:.2f}" if video in fps else "unknown" for video in joined["video_id"]]
    return _same_for_all("frame rate", np.array(rates))


def by_length(joined: pd.DataFrame) -> Grouping:
    """By the segment's length in seconds."""
    names = [f"under {LENGTH_EDGES[0]:g} s"]
    names += [f"{low:g} to {high:g} s" for low, high in pairwise(LENGTH_EDGES)]
    names += [f"{LENGTH_EDGES[-1]:g} s and more"]
    group_N = np.array(names)[np.digitize(joined["seconds"], LENGTH_EDGES)]
    return Grouping("length", names, dict.fromkeys(TASKS, group_N))


def by_frequency(
    joined: pd.DataFrame, training: pd.DataFrame, tail_verbs: Collection[int], tail_nouns: Collection[int]
) -> Grouping:
    """Head, middle and tail, for verb and noun by their classes, for an action by both.

    The tail is the organisers' list. The head is the fewest classes that hold `HEAD_SHARE` of the training segments
    (without those of the tail). An action is in the tail if its verb or noun is, as the organisers say, in the head
    if both are.
    """
    part_of = {
        task: _frequency_parts(joined[f"{task}_class"], training[f"{task}_class"], tail)
        for task, tail in (("verb", tail_verbs), ("noun", tail_nouns))
    }
    lower = np.minimum(part_of["verb"], part_of["noun"])
    names = np.array(["tail", "middle", "head"])
    groups = {task: names[part] for task, part in (part_of | {"action": lower}).items()}
    return Grouping("training frequency", ["head", "middle", "tail"], groups)


def by_seen_action(joined: pd.DataFrame, training: pd.DataFrame) -> Grouping:
    """By whether the training list has a segment of the same verb and noun."""
    seen_N = np.isin(task_classes(joined)["action"], task_classes(training)["action"])
    group_N = np.where(seen_N, "seen in training", "never seen")
    return Grouping("action", ["seen in training", "never seen"], dict.fromkeys(TASKS, group_N))


def breakdown(hits: Hits, grouping: Grouping) -> dict[str, dict[str, dict[str, float]]]:
    """group -> task -> {segments, top1, top5} in percent; a group of no segment is left out."""
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
