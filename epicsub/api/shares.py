"""What is to be predicted, in one job or in shares by jobs side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from epicsub.api import data_root, device_of, protocol_of
from epicsub.data.annotations import Segment
from epicsub.data.features.store import SHARD_SEGMENTS
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.inference.features import merge_features as merge
from epicsub.inference.targets import Target, resolve_target
from epicsub.io import user_path
from epicsub.recipe import Recipe
from epicsub.validation import find_protocol, load_protocol


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


class ToPredict(NamedTuple):
    """What is to be predicted, resolved: what `predictions_of`, `predict_share` and `merge_shares` begin with."""

    target: Target
    segments: list[Segment]
    """The list, in its order."""
    root: DataRoot
    views: Views | None
    """None for the recipe's own."""
    device: torch.device


def what_to_predict(
    target: str | Path,
    split: Literal["validation", "test"],
    *,
    tta: str | None = None,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    device: str = "auto",
) -> ToPredict:
    """Resolve the names of a command, to predict a list in one job or in shares: `predict_share(*what, shard)`.

    Args:
        target: a checkpoint or a run.
        split: which list of the protocol.
        tta: test-time views; None for the recipe's.
        protocol: name or path; None for the recipe's.
        data: data root.
        device: auto, cpu, cuda, cuda:N or mps.

    Returns:
        Target, segments of the list, data root, views and device.
    """
    chosen = device_of(device)
    resolved = resolve_target(str(target))
    root = data_root(data)
    found = find_protocol(protocol, protocol_of([resolved])).protocol
    segments = root.segments(getattr(found, split).list)
    return ToPredict(resolved, segments, root, parse_views(tta) if tta else None, chosen)
