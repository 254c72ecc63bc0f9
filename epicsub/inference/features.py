"""From a model and clips to features on the disk, which every adaptation method can train on."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from epicsub.data.annotations import Segment
from epicsub.data.features.store import FeatureStore
from epicsub.data.prepared.index import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.data.sampling import Views
from epicsub.errors import InferenceError
from epicsub.inference.targets import Trained
from epicsub.progress import track
from epicsub.text import first_of
from epicsub.training.build import view_loader


def segments_of(root: DataRoot, lists: Sequence[str]) -> list[Segment]:
    """The segments of several lists, each narration id once, without a look at labels.

    Raises:
        InferenceError: two lists give a narration id other times or another video.
    """
    found: dict[str, tuple[Segment, str]] = {}
    differing = []
    for name in lists:
        for segment in root.segments(name):
            first, where = found.setdefault(segment.narration_id, (segment, name))
            if (first.video_id, first.start, first.stop) != (segment.video_id, segment.start, segment.stop):
                differing.append(f"{segment.narration_id} is another segment in {name} than in {where}")
    if differing:
        raise InferenceError(f"{len(differing)} segments differ between lists: {first_of(differing)}")
    return [segment for segment, _ in found.values()]


def made_by(trained: Trained, weights: str, views: Views, store: StoreChoice) -> dict[str, Any]:
    """Collect what the features of a model depend on, for their index.

    Args:
        trained: the model.
        weights: SHA-256 of its checkpoint.
        views: views per segment.
        store: what is read from the prepared store.

    Returns:
        Plain values.
    """
    checkpoint = trained.checkpoint
    return {
        "model": trained.recipe.name,
        "checkpoint_sha256": weights,
        "step": checkpoint.step,
        "commit": checkpoint.commit,
        "views": str(views),
        "prepared": sorted(store.prepared),
        "recipe": checkpoint.recipe,
    }


def extract(
    trained: Trained,
    root: DataRoot,
    segments: Sequence[Segment],
    views: Views,
    choice: StoreChoice,
    store: FeatureStore,
    device: torch.device,
    shard_segments: int,
) -> int:
    """Write the features of every segment that the store lacks, a shard at a time; returns how many were made.

    Raises:
        DataError: a clip cannot be read, or a feature is not finite.
        OSError: the disk is full; the shards so far are whole.
    """
    todo = [segment for segment in segments if segment.narration_id not in store.narration_ids]
    if not todo:
        return 0
    loader = view_loader(trained.recipe, root, todo, views, choice)
    batches = _features(trained.model, loader, device)
    ids: list[str] = []
    parts: list[dict[str, torch.Tensor]] = []
    done = len(segments) - len(todo)
    before = -(-done // trained.recipe.evaluation.batch_size)
    for names, features in track(batches, f"features ({views})", before + len(loader), before):
        ids += names
        parts.append(features)
        while len(ids) >= shard_segments:
            joined = _joined(parts)
            store.add(ids[:shard_segments], {name: x_ND[:shard_segments] for name, x_ND in joined.items()})
            ids, parts = ids[shard_segments:], [{name: x_ND[shard_segments:] for name, x_ND in joined.items()}]
    if ids:
        store.add(ids, _joined(parts))
    return len(todo)


@torch.inference_mode()
def _features(
    model: nn.Module, batches: Iterable, device: torch.device
) -> Iterator[tuple[list[str], dict[str, torch.Tensor]]]:
    """(narration ids, {modality: (B, D), or (B, V, D) for several views}) of each batch."""
    model.eval()
    for narration_ids, views in batches:
        clips = {name: clip.to(device, non_blocking=True).flatten(0, 1) for name, clip in views.items()}
        features = model(clips).features
        by_view = {name: x_BD.float().cpu().unflatten(0, (len(narration_ids), -1)) for name, x_BD in features.items()}
        yield (
            narration_ids,
            {name: x_BVD.squeeze(1) if x_BVD.shape[1] == 1 else x_BVD for name, x_BVD in by_view.items()},
        )


def _joined(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
