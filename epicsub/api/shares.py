"""Predictions of a list in shares, for jobs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from epicsub.api import data_root, device_of, protocol_of
from epicsub.data.annotations import Segment
from epicsub.data.features.store import SHARD_SEGMENTS
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.inference.features import merge_features as merge
from epicsub.inference.shares import merge_shares, predict_share
from epicsub.inference.targets import Target, resolve_target
from epicsub.io import user_path
from epicsub.io.shards import Shard
from epicsub.predictions import Predictions
from epicsub.recipe import Recipe
from epicsub.validation import find_protocol, load_protocol


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


def merge_features(
    target: str | Path,
    out: Path,
    shares: int,
    lists: Sequence[str] = (),
    *,
    tta: str | None = None,
    shard_segments: int = SHARD_SEGMENTS,
    regions: bool = False,
    data: str | Path | None = None,
) -> int:
    """Put the shares of `extract_features` together; the same bytes as one job writes.

    Args:
        target: as `extract_features`, like all but `shares`.
        out: folder to write.
        shares: how many there are.
        lists: tables under annotations/.
        tta: views per segment.
        shard_segments: segments per file.
        regions: with features of hands and of objects.
        data: the data root.

    Returns:
        Number of segments.

    Raises:
        DataError: shares are missing; all of them are named.
    """
    resolved = resolve_target(str(target))
    names = list(lists) or (all_lists(resolved.recipe) if resolved.kind == "checkpoint" else [])
    views = parse_views(tta) if tta else None
    return merge(resolved, data_root(data), names, user_path(out), shares, views, shard_segments, regions)


def all_lists(recipe: Recipe) -> list[str]:
    """Name the lists that a recipe trains on, adapts to and is scored on.

    Args:
        recipe: the resolved recipe.

    Returns:
        Names of tables, each once.
    """
    protocol = load_protocol(Path(recipe.evaluation.protocol))
    names = [*recipe.data.source, *recipe.data.target, protocol.validation.list, protocol.test.list]
    return list(dict.fromkeys(names))


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
