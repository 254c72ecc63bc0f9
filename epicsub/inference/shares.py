"""A list predicted in shares, by jobs side by side: each keeps its own beside the checkpoint, by what it depends on.

A share is of whole batches, every N-th of the list, so that what a batch norm or a matrix product makes of a batch is
what it makes of it in one job, and the predictions together are the same to the bit.
"""

import time
from pathlib import Path
from typing import Any

import torch

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views, parse_views
from epicsub.errors import InferenceError
from epicsub.inference.cache import Made, cache_file, find_predictions, keep_predictions, key_of
from epicsub.inference.predict import concatenate, predict
from epicsub.inference.targets import Target
from epicsub.io.shards import Shard, refuse_missing
from epicsub.predictions import Predictions
from epicsub.text import join_problems
from epicsub.training.loaders import store_of, view_loader
from epicsub.training.preflight import missing_files

OWN = ("shard", "batch")
"""What the key of a share has beside that of the list."""


def predict_share(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, shard: Shard
) -> tuple[Path, int]:
    """Predict one share of a list, unless it is there.

    Args:
        target: a checkpoint.
        segments: the whole list, in its order.
        root: where the videos lie.
        views: views per segment, or None for the recipe's own.
        device: where to run.
        shard: which share.

    Returns:
        The file that holds the share, and its number of segments.

    Raises:
        InferenceError: videos are missing, the target holds predictions, or there are more shares than batches.
    """
    recipe, file, key, chosen = _place(target, segments, root, views, device, shard)
    if (made := find_predictions(file, key)) is not None:
        return file, len(made.predictions)
    store = store_of(recipe, root, segments)
    batches = -(-len(segments) // recipe.evaluation.batch_size)
    if shard.number > batches:
        raise InferenceError(
            f"--shard {shard}: the list has {batches} batches of {recipe.evaluation.batch_size} segments: at most so "
            "many shares"
        )
    if missing := missing_files(recipe, root, segments, store):
        raise InferenceError(join_problems(missing, "nothing was predicted"))
    trained, began = target.load(device), time.monotonic()
    loader = view_loader(recipe, root, segments, chosen, store, rank=shard.number - 1, ranks=shard.of)
    with trained.autocast():
        found = predict(trained.model, loader, len(loader), device, f"{target.name} ({chosen}), shard {shard}")
    keep_predictions(file, key, Made(found, time.monotonic() - began, chosen.count))
    if not file.is_file():
        raise InferenceError(f"{file}: the share cannot be kept, and is lost; make {file.parent} writable")
    return file, len(found)


def merge_shares(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, shares: int
) -> Predictions:
    """Put all shares of a list together, and keep them as one: `submit` finds them so.

    Args:
        target: as `predict_share`, like all but the last.
        segments: the whole list.
        root: where the videos lie.
        views: views per segment.
        device: of its kind the shares were made.
        shares: how many there are.

    Returns:
        Predictions in the list's order.

    Raises:
        DataError: shares are missing; all of them are named.
    """
    parts: dict[int, Made] = {}
    for number in range(1, shares + 1):
        _, file, key, _ = _place(target, segments, root, views, device, Shard(number, shares))
        if (made := find_predictions(file, key)) is not None:
            parts[number] = made
    missing = [number for number in range(1, shares + 1) if number not in parts]
    refuse_missing(missing, shares, f"{target.name}: predictions of these segments, views and this kind of device")
    found = list(parts.values())
    ids = [segment.narration_id for segment in segments]
    whole = Made(
        concatenate([part.predictions for part in found]).select(ids), sum(p.seconds for p in found), found[0].views
    )
    key = {name: value for name, value in key.items() if name not in OWN}
    keep_predictions(cache_file(target.path, key), key, whole)
    return whole.predictions


def _place(
    target: Target, segments: list[Segment], root: DataRoot, views: Views | None, device: torch.device, shard: Shard
) -> tuple[Any, Path, dict[str, Any], Views]:
    """Recipe, file and key of a share, and the views."""
    if target.kind != "checkpoint":
        raise InferenceError(f"{target.name}: holds predictions; shares are made by a checkpoint (.pth) or a run")
    recipe = target.recipe
    chosen = views or parse_views(recipe.evaluation.views)
    store = store_of(recipe, root, segments)
    key = key_of(target.sha256, recipe, segments, root, store.prepared, chosen, 0, device)
    key |= dict(zip(OWN, (str(shard), recipe.evaluation.batch_size), strict=True))
    return recipe, cache_file(target.path, key), key, chosen
