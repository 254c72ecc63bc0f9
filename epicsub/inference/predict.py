"""From a model and clips to Predictions: torch before this file, numpy after it.

Views that can no longer change a segment's ranking may be left out (`predict_until_decided`).

The mean of V views' probabilities ranks as their sum. After v views the sum of a class lies between what it is, S, and
S + R with R = V - v: each view to come gives at most 1, to all classes together. So

- class a stays above class b when S_a > S_b + R;
- pair (a, b) stays above (a, d) when S_b > S_d + R, because both have the same verb, and likewise for verbs;
- pair (a, b) stays above (c, d) with neither in common when S_a S_b > (S_c + R) (S_d + R).

Each bound can be met by some views, so no weaker condition is sound without knowing something of the model. A segment
is decided when its `depth` best verbs, nouns and pairs each stay above all that lie below them. That takes
S_1 > depth * R, so no segment is decided before depth / (depth + 1) of the views: half of them for the best class,
five sixths for the order of the five best.

Letters: N segments, V verbs, M nouns.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from epicsub.data.annotations import Segment
from epicsub.data.sampling import Views
from epicsub.errors import InferenceError
from epicsub.predictions import Predictions
from epicsub.progress import track
from epicsub.training.device import copied_ahead

ViewBatch = tuple[list[str], dict[str, Tensor]]
"""Narration ids, {modality: uint8 clips (B, V, C, T, H, W)}."""
ClipPosition = tuple[float, float]
ROUNDING = 1e-5  # a view: above what float32 and another batch size change in a probability


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
    moved = copied_ahead(batches, partial(flat_views, device=device), device)
    for narration_ids, clips in track(moved, label, total):
        count = len(narration_ids)
        output = model(clips)
        verb, noun = (mean_over_views(logits, count) for logits in (output.verb_logits_BV, output.noun_logits_BN))
        refuse_non_finite(narration_ids, verb, noun)
        ids.extend(narration_ids)
        verbs.append(verb.numpy())
        nouns.append(noun.numpy())
    return Predictions(np.array(ids), np.concatenate(verbs), np.concatenate(nouns))


def flat_views(batch: ViewBatch, device: torch.device) -> ViewBatch:
    """Move a batch of views to the device, and put them one after the other.

    Args:
        batch: narration ids, {modality: (B, V, ...)}.
        device: where to.

    Returns:
        Narration ids, {modality: (B * V, ...)}.
    """
    ids, views = batch
    return ids, {name: clip.to(device, non_blocking=True).flatten(0, 1) for name, clip in views.items()}


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
        raise InferenceError(
            f"the model's scores are not finite for {', '.join(bad)}: its weights are damaged; take an earlier "
            "checkpoint, or train anew"
        )


@torch.inference_mode()
def predict_until_decided(
    model: nn.Module,
    loader_of: Callable[[Sequence[Segment], ClipPosition], Iterable[ViewBatch]],
    segments: Sequence[Segment],
    views: Views,
    depth: int,
    device: torch.device,
    label: str,
) -> tuple[Predictions, np.ndarray]:
    """Predict clip by clip, each time only the segments whose ranking is still open.

    Args:
        model: uint8 clips {modality: (B, C, T, H, W)} -> two heads of logits.
        loader_of: segments and a place of `views.places()` -> batches of (narration ids, {modality: (B, views.each,
            C, T, H, W)}), in the order of the segments, with a length.
        segments: N of them.
        views: all views that a segment may get.
        depth: how many of the best verbs, nouns and pairs keep the order that all views would give them.
        device: where the model is.
        label: what the progress line says.

    Returns:
        Predictions (the mean over the views taken), and the number of views taken (N,).

    Raises:
        InferenceError: the model gives scores that are not finite; the message names the segments.
    """
    model.eval()
    verb_NV, noun_NM, done_N = np.zeros((len(segments), 97)), np.zeros((len(segments), 300)), np.zeros(len(segments))
    places = sorted(views.places(), key=lambda place: abs(place[1] - 0.5))  # the middle shows most
    open_N = np.arange(len(segments))
    for number, place in enumerate(places, start=1):
        batches = loader_of([segments[row] for row in open_N.tolist()], place)
        title = f"{label}: clip {number} of {len(places)}, {len(open_N)} segments"
        moved = copied_ahead(batches, partial(flat_views, device=device), device)
        sums = [_sums(model, batch) for batch in track(moved, title, len(batches))]  # type: ignore[arg-type]
        verb_NV[open_N] += np.concatenate([verb for verb, _ in sums])
        noun_NM[open_N] += np.concatenate([noun for _, noun in sums])
        done_N[open_N] = number * views.each
        left = views.count - number * views.each
        open_N = open_N[~decided(verb_NV[open_N], noun_NM[open_N], left, depth, ROUNDING * views.count)]
        if not len(open_N):
            break
    ids = np.array([segment.narration_id for segment in segments], dtype=np.str_)
    return Predictions(ids, _logs(verb_NV), _logs(noun_NM)), done_N


def decided(verb_NV: np.ndarray, noun_NM: np.ndarray, left: float, depth: int, margin: float = 0.0) -> np.ndarray:
    """Whether no `left` further views can change the order of a segment's `depth` best verbs, nouns and pairs.

    Args:
        verb_NV: sums of probabilities over the views so far.
        noun_NM: likewise.
        left: views to come, R.
        depth: at least 1.
        margin: by how much more than the bound a difference must be, for rounding.

    Returns:
        (N,) bool.
    """
    decided_N: np.ndarray = _apart(verb_NV, left + margin, depth) & _apart(noun_NM, left + margin, depth)
    if depth > 1:  # the best pair is that of the best verb and the best noun
        for row in np.flatnonzero(decided_N):
            decided_N[row] = _pairs_apart(verb_NV[row], noun_NM[row], left + margin, depth)
    return decided_N


def _apart(sums_NC: np.ndarray, most: float, depth: int) -> np.ndarray:
    highest = -np.sort(np.partition(-sums_NC, depth, axis=1)[:, : depth + 1], axis=1)
    apart: np.ndarray = (highest[:, :-1] - highest[:, 1:] > most).all(axis=1)
    return apart


def _pairs_apart(verb_V: np.ndarray, noun_M: np.ndarray, most: float, depth: int) -> bool:
    now_VM = np.outer(verb_V, noun_M)
    highest_VM = np.outer(verb_V + most, noun_M + most)
    below_VM = np.ones_like(now_VM, dtype=bool)
    for flat in np.argsort(-now_VM, axis=None)[:depth]:
        verb, noun = np.unravel_index(flat, now_VM.shape)
        below_VM[verb, noun] = False
        beaten_VM = now_VM[verb, noun] > highest_VM
        beaten_VM[verb] = noun_M[noun] > noun_M + most
        beaten_VM[:, noun] = verb_V[verb] > verb_V + most
        if not beaten_VM[below_VM].all():
            return False
    return True


def _sums(model: nn.Module, batch: ViewBatch) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities summed over the views of a batch's segments: (B, 97), (B, 300)."""
    ids, clips = batch
    output = model(clips)
    heads = (output.verb_logits_BV, output.noun_logits_BN)
    verb, noun = (
        torch.softmax(head.float(), -1).reshape(len(ids), -1, head.shape[-1]).double().sum(1).cpu() for head in heads
    )
    refuse_non_finite(ids, verb, noun)
    return verb.numpy(), noun.numpy()


def _logs(sums_NC: np.ndarray) -> np.ndarray:
    mean_NC = np.maximum(sums_NC / sums_NC.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    logs: np.ndarray = np.log(mean_NC).astype(np.float32)
    return logs


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
