"""Predictions of a list in shares, for jobs side by side."""

from pathlib import Path
from typing import Literal

import torch

from epicsub.api import data_root, device_of, protocol_of
from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.inference.shares import merge_shares, predict_share
from epicsub.inference.targets import Target, resolve_target
from epicsub.io.shards import Shard
from epicsub.predictions import Predictions
from epicsub.validation import find_protocol


def predict_shard(
    target: str | Path,
    split: Literal["validation", "test"],
    shard: Shard,
    *,
    tta: str | None = None,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> tuple[Path, int]:
    """Predict a share of a protocol's list, kept beside the checkpoint until `merge_predictions`.

    Args:
        target: as `predict`, like all the others.
        split: which list of the protocol.
        shard: which share of it.
        tta: test-time views.
        protocol: name or path.
        data: data root.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        The file that holds the share, and its number of segments.

    Raises:
        InferenceError: as of `predict`, or there are more shares than batches.
    """
    return predict_share(*what_to_predict(target, split, tta, protocol, data, device), shard)


def merge_predictions(
    target: str | Path,
    split: Literal["validation", "test"],
    shares: int,
    *,
    tta: str | None = None,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> Predictions:
    """Put the shares of `predict_shard` together; the same to the bit as `predict`.

    Args:
        target: as `predict`, like all the others.
        split: which list of the protocol.
        shares: how many there are.
        tta: test-time views.
        protocol: name or path.
        data: data root.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        Predictions in the list's order.

    Raises:
        DataError: shares are missing; all of them are named.
    """
    return merge_shares(*what_to_predict(target, split, tta, protocol, data, device), shares)


def what_to_predict(
    target: str | Path,
    split: Literal["validation", "test"],
    tta: str | None,
    protocol: str | Path | None,
    data: str | Path | None,
    device: str,
) -> tuple[Target, list[Segment], DataRoot, Views | None, torch.device]:
    """Resolve the names of a command.

    Args:
        target: a checkpoint or a run.
        split: which list of the protocol.
        tta: test-time views; None for the recipe's.
        protocol: name or path; None for the recipe's.
        data: data root.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        Target, segments of the list, data root, views, device.
    """
    chosen = device_of(device)
    resolved = resolve_target(str(target))
    root = data_root(data)
    found = find_protocol(protocol, protocol_of([resolved])).protocol
    segments = root.segments(getattr(found, split).list)
    return resolved, segments, root, parse_views(tta) if tta else None, chosen
