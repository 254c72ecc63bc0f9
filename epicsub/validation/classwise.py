"""Figures that count every class alike, however many segments it has, and what each class is taken for."""

import numpy as np
import pandas as pd

from epicsub.constants import ACTION_BASE
from epicsub.validation.scores import Hits


def task_classes(joined: pd.DataFrame) -> dict[str, np.ndarray]:
    """Class of each segment (N,) int: verb, noun, and action as verb * 1000 + noun."""
    verb_N, noun_N = joined["verb_class"].to_numpy(), joined["noun_class"].to_numpy()
    return {"verb": verb_N, "noun": noun_N, "action": verb_N * ACTION_BASE + noun_N}


def class_mean(hit_N: np.ndarray, class_N: np.ndarray) -> float:
    """Mean, over the classes that have segments, of the share of hits in each, in percent.

    With hits at 1 this is the class-mean accuracy, with hits at 5 the mean top-5 recall (Furnari et al., "Leveraging
    Uncertainty to Rethink Loss Functions and Evaluation Measures for Egocentric Action Anticipation", 2018).
    """
    _, codes = np.unique(class_N, return_inverse=True)
    return float(100 * np.mean(np.bincount(codes, weights=hit_N) / np.bincount(codes)))


def class_scores(hits: Hits, classes: dict[str, np.ndarray]) -> dict[str, float]:
    """`class_mean_{task}_accuracy_at_1` and `mean_{task}_recall_at_5` of every task in `hits`, in percent."""
    names = {1: "class_mean_{}_accuracy_at_1", 5: "mean_{}_recall_at_5"}
    return {names[k].format(task): class_mean(hit_N, classes[task]) for (task, k), hit_N in hits.items() if len(hit_N)}


def class_table(
    class_N: np.ndarray, hit1_N: np.ndarray, hit5_N: np.ndarray, predicted_N: np.ndarray | None
) -> pd.DataFrame:
    """One row a class that has segments or is predicted: class, segments, top1, top5, precision (percent), taken_for.

    Args:
        class_N: the label's class.
        hit1_N: whether the class is the highest.
        hit5_N: whether it is among the five highest.
        predicted_N: the highest class; None leaves precision and taken_for out.

    Returns:
        `taken_for` is the wrong class that the class's segments are most often given, -1 for none. A figure over no
        segment is NaN.
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
    """(classes, classes) int: segments of each true class (row) by predicted class (column)."""
    flat = np.bincount(true_N * classes + predicted_N, minlength=classes * classes)
    return flat.reshape(classes, classes)
