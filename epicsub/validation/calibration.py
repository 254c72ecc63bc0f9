"""Whether a model is right as often as it says: reliability curve and expected calibration error."""

from dataclasses import dataclass

import numpy as np

BINS = 15


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
        """Expected calibration error, in percent: the mean gap between confidence and accuracy, bins by their counts.

        Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3.
        """
        full = self.counts > 0
        gap = np.abs(self.accuracy[full] - self.confidence[full])
        return float(100 * np.average(gap, weights=self.counts[full]))


def reliability(confidence_N: np.ndarray, hit_N: np.ndarray) -> Reliability:
    """Reliability of the highest class: its probability (N,), and whether it is right (N,) bool.

    A confidence on the border of two bins belongs to the lower one, as in the paper: bins are (low, high].
    """
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    counts = np.bincount(bin_N, minlength=BINS)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(bin_N, confidence_N, BINS) / counts
        accuracy = np.bincount(bin_N, hit_N, BINS) / counts
    return Reliability(counts, confidence, accuracy)


def confidences(verb_NV: np.ndarray, noun_NM: np.ndarray) -> dict[str, np.ndarray]:
    """Probability (N,) of the highest verb among those given, noun, and of the pair of both."""
    verb_N, noun_N = _highest(verb_NV), _highest(noun_NM)
    return {"verb": verb_N, "noun": noun_N, "action": verb_N * noun_N}


def _highest(logprobs_NC: np.ndarray) -> np.ndarray:
    top_N1 = logprobs_NC.max(axis=1, keepdims=True)
    highest: np.ndarray = 1 / np.exp(logprobs_NC - top_N1, dtype=np.float64).sum(axis=1)
    return highest
