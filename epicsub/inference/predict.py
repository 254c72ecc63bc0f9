"""From a model and clips to Predictions: torch before this file, numpy after it."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from epicsub.errors import InferenceError
from epicsub.predictions import Predictions
from epicsub.progress import track


@torch.inference_mode()
def predict(model: nn.Module, batches: Iterable, total: int, device: torch.device, label: str) -> Predictions:
    """Predict every segment: probabilities of each view, averaged, as log-probabilities.

    Averaging follows the softmax, so that no view counts for more because its logits are larger.

    Args:
        model: uint8 clips {modality: (B, C, T, H, W)} -> two heads of logits.
        batches: (narration ids, {modality: uint8 clips (B, V, C, T, H, W)}) with V views a segment.
        total: number of batches, for the progress line.
        device: where the model is.
        label: what the progress line says.

    Raises:
        InferenceError: the model gives scores that are not finite; the message names the segments.
    """
    model.eval()
    ids: list[str] = []
    verbs: list[np.ndarray] = []
    nouns: list[np.ndarray] = []
    for narration_ids, views in track(batches, label, total):
        count = len(narration_ids)
        clips = {name: clip.to(device, non_blocking=True).flatten(0, 1) for name, clip in views.items()}
        output = model(clips)
        verb, noun = (mean_over_views(logits, count) for logits in (output.verb_logits_BV, output.noun_logits_BN))
        refuse_non_finite(narration_ids, verb, noun)
        ids.extend(narration_ids)
        verbs.append(verb.numpy())
        nouns.append(noun.numpy())
    return Predictions(np.array(ids), np.concatenate(verbs), np.concatenate(nouns))


def mean_over_views(logits: torch.Tensor, segments: int) -> torch.Tensor:
    """Logits of all views (segments * V, classes) -> log of the mean probability (segments, classes), float32."""
    logprobs = torch.log_softmax(logits.float(), dim=-1).unflatten(0, (segments, -1))
    mean = torch.logsumexp(logprobs, dim=1) - np.log(logprobs.shape[1])
    return torch.log_softmax(mean, dim=-1).cpu()  # the last rounding error: rows sum to one again


def refuse_non_finite(ids: list[str], *scores: torch.Tensor) -> None:
    """Stop at the first batch with a NaN: an average would hide it."""
    bad = [name for row, name in enumerate(ids) if not all(bool(torch.isfinite(part[row]).all()) for part in scores)]
    if bad:
        raise InferenceError(f"the model's scores are not finite for {', '.join(bad)}: its weights are damaged")
