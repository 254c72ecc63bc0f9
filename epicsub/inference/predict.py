"""From a model and clips to Predictions: torch before this file, numpy after it."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from epicsub.errors import InferenceError
from epicsub.predictions import Predictions
from epicsub.progress import track

ViewBatch = tuple[list[str], dict[str, Tensor]]
"""Narration ids, {modality: uint8 clips (B, V, C, T, H, W)}."""


@torch.inference_mode()
def predict(
    model: nn.Module, batches: Iterable[ViewBatch], total: int, device: torch.device, label: str
) -> Predictions:
    """Predict every segment: probabilities of each view, averaged, as log-probabilities.

    Averaging follows the softmax, so that no view counts for more because its logits are larger.

    Args:
        model: uint8 clips {modality: (B, C, T, H, W)} -> two heads of logits.
        batches: (narration ids, {modality: uint8 clips (B, V, C, T, H, W)}) with V views per segment.
        total: number of batches, for the progress line.
        device: where the model is.
        label: what the progress line says.

    Returns:
        Predictions in the order of the batches.

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


def mean_over_views(logits: Tensor, segments: int) -> Tensor:
    """Average the probabilities of a batch's views.

    Args:
        logits: of all views, (segments * V, classes).
        segments: in the batch.

    Returns:
        Log of the mean probability, (segments, classes) float32, on the CPU.
    """
    logprobs = torch.log_softmax(logits.float(), dim=-1).reshape(segments, -1, logits.shape[-1])
    mean = torch.logsumexp(logprobs, dim=1) - np.log(logprobs.shape[1])
    return torch.log_softmax(mean, dim=-1).cpu()  # the last rounding error: rows sum to one again


def refuse_non_finite(ids: Sequence[str], *scores: Tensor) -> None:
    """Stop at the first batch with a NaN: an average would hide it.

    Args:
        ids: narration ids of the batch.
        scores: (B, classes) each.

    Raises:
        InferenceError: naming the segments.
    """
    bad = [name for row, name in enumerate(ids) if not all(bool(torch.isfinite(part[row]).all()) for part in scores)]
    if bad:
        raise InferenceError(f"the model's scores are not finite for {', '.join(bad)}: its weights are damaged")


def gather_predictions(own: Predictions | None, narration_ids: Sequence[str]) -> Predictions:
    """Collect the predictions of all processes, which have predicted a share of the list's batches each.

    Every process must call it. The shares are of the list's own batches (`view_loader`), so that what a batch norm or
    a matrix product makes of a batch does not depend on the number of processes.

    Args:
        own: of this process; None where there are fewer batches than processes and it had none.
        narration_ids: the whole list; the order of what is returned.

    Returns:
        Predictions of the list, joined on narration id, in every process.

    Raises:
        PredictionsError: a segment was predicted twice or by nobody.
    """
    parts: list[Predictions | None] = [own]
    if torch.distributed.is_initialized():
        parts *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, own)
    return concatenate([part for part in parts if part is not None]).select(narration_ids)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Put predictions of different segments one after the other.

    Args:
        parts: one or more.

    Returns:
        All rows.

    Raises:
        PredictionsError: a segment is in several parts.
    """
    if len(parts) == 1:
        return parts[0]
    names = ("narration_ids", "verb_logprobs", "noun_logprobs")
    return Predictions(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
