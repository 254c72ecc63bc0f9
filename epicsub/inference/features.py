"""From a model and clips to features on the disk, which every adaptation method can train on."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from epicsub.data.annotations import Segment
from epicsub.data.features.store import INDEX, SHARD_SEGMENTS, FeatureStore, read_store
from epicsub.data.prepared import StoreChoice
from epicsub.data.root import DataRoot
from epicsub.data.samplers import batches_of_share
from epicsub.data.sampling import Views, parse_views
from epicsub.errors import InferenceError
from epicsub.inference.predict import flat_views
from epicsub.inference.targets import Target, Trained
from epicsub.io import hold_folder
from epicsub.io.shards import Shard as Share
from epicsub.io.shards import refuse_missing
from epicsub.models.streams import TwoStream
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.progress import track
from epicsub.text import first_of, join_problems
from epicsub.training.device import copied_ahead
from epicsub.training.loaders import store_of, view_loader
from epicsub.training.preflight import missing_files

Features = tuple[list[str], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Extracted:
    """How many segments' features were made, how many were there, entries per modality, and the views."""

    made: int
    kept: int
    dims: dict[str, int]
    views: Views


def segments_of(root: DataRoot, lists: Sequence[str]) -> list[Segment]:
    """Read the segments of several lists, each narration id once.

    Args:
        root: the data root.
        lists: names under annotations/.

    Returns:
        The segments, in the order of the lists.

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
        raise InferenceError(
            f"{len(differing)} segments differ between lists: {first_of(differing)}; name lists that agree"
        )
    return [segment for segment, _ in found.values()]


def extract_features(
    target: Target,
    root: DataRoot,
    lists: Sequence[str],
    out: Path,
    device: torch.device,
    views: Views | None = None,
    shard_segments: int = SHARD_SEGMENTS,
    regions: bool = False,
    share: Share | None = None,
) -> Extracted:
    """Write pooled features of every segment that a folder lacks, shard by shard, so that a killed run can resume.

    Args:
        target: a checkpoint.
        root: the data root.
        lists: names of lists under annotations/.
        out: folder to write, made where it is missing.
        device: where to run.
        views: views per segment; None takes the recipe's.
        shard_segments: segments per file.
        regions: add those of hands and of objects as modalities, of a model with relations.
        share: make this share of the list's batches alone, into a folder of its own for `merge_features`.

    Returns:
        What was made, and what was there.

    Raises:
        InferenceError: the target holds predictions, or files of segments are missing.
        DataError: a clip cannot be read, a feature is not finite, or the folder holds features made otherwise.
        OSError: the disk is full; the shards so far are whole.
    """
    if target.kind != "checkpoint":
        raise InferenceError(f"{target.path}: holds predictions; features are made by a checkpoint (.pth) or a run")
    trained = target.load(device)
    if regions:
        _two_stream(trained)
    views = views or parse_views(trained.recipe.evaluation.views)
    segments = segments_of(root, lists)
    choice = store_of(trained.recipe, root, segments)
    if share is not None:
        segments, out = own_batches(segments, trained.recipe.evaluation.batch_size, share), folder_of(out, share)
    if not out.exists():  # and no folder is left behind, which would be listed as features
        _refuse_missing(trained, root, segments, choice)
    with hold_folder(out):
        store = FeatureStore(out, _made_by(trained, target.sha256, views, choice, regions))
        todo = [segment for segment in segments if segment.narration_id not in store.narration_ids]
        _refuse_missing(trained, root, todo, choice)
        if todo:
            loader = view_loader(trained.recipe, root, todo, views, choice)
            before = -(-(len(segments) - len(todo)) // trained.recipe.evaluation.batch_size)
            batches = _features(trained, loader, device, regions)
            _write(store, track(batches, f"features ({views})", before + len(loader), before), shard_segments)
    dims: dict[str, int] = dict(trained.model.feature_dims)  # type: ignore[arg-type]  # every model has it
    if regions:
        dims |= _two_stream(trained).region_dims
    return Extracted(made=len(todo), kept=len(segments) - len(todo), dims=dims, views=views)


def _two_stream(trained: Trained) -> TwoStream:
    """The model with relations, which a second classifier may be around."""
    model = trained.model.first if isinstance(trained.model, TwoClassifiers) else trained.model
    if not isinstance(model, TwoStream) or model.relation_head is None:
        raise InferenceError(
            f"--regions: {trained.recipe.name} has no relations, whose features of hands and objects these are: name a "
            "run with model.relations, or leave --regions out"
        )
    return model


def folder_of(out: Path, share: Share) -> Path:
    """Name the folder of a share.

    Args:
        out: folder of all.
        share: which.

    Returns:
        A folder beside it, which nobody lists as features.
    """
    return out.with_name(f".{out.name}.{share.number}-of-{share.of}")


def own_batches(segments: Sequence[Segment], size: int, share: Share) -> list[Segment]:
    """Take a share's segments: whole batches, so that what a batch norm makes of one does not depend on the shares.

    Args:
        segments: of all lists.
        size: of a batch.
        share: which.

    Returns:
        The segments of every N-th batch.
    """
    places = batches_of_share(len(segments), size, share.number - 1, share.of)
    return [segments[place] for batch in places for place in batch]


def merge_features(
    target: Target,
    root: DataRoot,
    lists: Sequence[str],
    out: Path,
    shares: int,
    views: Views | None = None,
    shard_segments: int = SHARD_SEGMENTS,
    regions: bool = False,
) -> int:
    """Put the shares of a folder together: the same bytes as one job writes. Their folders are deleted then.

    Args:
        target: a checkpoint, like all but `shares` as of `extract_features`.
        root: the data root.
        lists: names of lists under annotations/.
        out: folder to write.
        shares: how many there are.
        views: views per segment.
        shard_segments: segments per file.
        regions: with those of hands and of objects.

    Returns:
        Number of segments.

    Raises:
        DataError: shares are missing; all of them are named. Or one was made otherwise.
    """
    trained = target.load(torch.device("cpu"))
    views = views or parse_views(trained.recipe.evaluation.views)
    segments = segments_of(root, lists)
    choice = store_of(trained.recipe, root, segments)
    made_by = _made_by(trained, target.sha256, views, choice, regions)
    rows: dict[str, dict[str, torch.Tensor]] = {}
    missing, folders = [], [folder_of(out, Share(number, shares)) for number in range(1, shares + 1)]
    for number, folder in enumerate(folders, 1):
        own = own_batches(segments, trained.recipe.evaluation.batch_size, Share(number, shares))
        there = FeatureStore(folder, made_by).narration_ids if (folder / INDEX).is_file() else set()
        if any(segment.narration_id not in there for segment in own):
            missing.append(number)
            continue
        for part in read_store(folder) if own else ():
            for row, name in enumerate(part.narration_ids):
                rows[name] = {modality: x_ND[row : row + 1] for modality, x_ND in part.tensors.items()}
    refuse_missing(missing, shares, str(out))
    with hold_folder(out):
        store = FeatureStore(out, made_by)
        ids = [segment.narration_id for segment in segments if segment.narration_id not in store.narration_ids]
        for first in range(0, len(ids), shard_segments):
            some = ids[first : first + shard_segments]
            store.add(some, _concatenate([rows[name] for name in some]))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(segments)


def _refuse_missing(trained: Trained, root: DataRoot, segments: list[Segment], choice: StoreChoice) -> None:
    if missing := missing_files(trained.recipe, root, segments, choice):
        raise InferenceError(join_problems(missing, "nothing was made"))


def _made_by(trained: Trained, weights: str, views: Views, store: StoreChoice, regions: bool) -> dict[str, Any]:
    """What the features of a model depend on, for their index; `weights` is the SHA-256 of its checkpoint."""
    checkpoint = trained.checkpoint
    return {
        "model": trained.recipe.name,
        "checkpoint_sha256": weights,
        "step": checkpoint.step,
        "commit": checkpoint.commit,
        "views": str(views),
        "prepared": sorted(store.prepared),
        "recipe": checkpoint.recipe,
        **({"regions": True} if regions else {}),
        **({"initial": checkpoint.initial} if checkpoint.initial else {}),  # what its initial weights have seen
    }


def _write(store: FeatureStore, batches: Iterable[Features], shard_segments: int) -> None:
    ids: list[str] = []
    parts: list[dict[str, torch.Tensor]] = []
    for names, features in batches:
        ids += names
        parts.append(features)
        while len(ids) >= shard_segments:
            together = _concatenate(parts)
            store.add(ids[:shard_segments], {name: x_ND[:shard_segments] for name, x_ND in together.items()})
            ids, parts = ids[shard_segments:], [{name: x_ND[shard_segments:] for name, x_ND in together.items()}]
    if ids:
        store.add(ids, _concatenate(parts))


@torch.inference_mode()
def _features(
    trained: Trained, batches: Iterable[tuple[list[str], dict[str, torch.Tensor]]], device: torch.device, regions: bool
) -> Iterator[Features]:
    """(narration ids, {modality: (B, D), or (B, V, D) for several views}) of each batch."""
    trained.model.eval()
    for narration_ids, clips in copied_ahead(batches, partial(flat_views, device=device), device):
        with trained.autocast():
            if regions:
                output, related = _two_stream(trained).related(clips)
                features = output.features | related.regions()
            else:
                features = trained.model(clips).features
        by_view = {
            name: x_BD.float().cpu().reshape(len(narration_ids), -1, x_BD.shape[-1]) for name, x_BD in features.items()
        }
        yield (
            narration_ids,
            {name: x_BVD.squeeze(1) if x_BVD.shape[1] == 1 else x_BVD for name, x_BVD in by_view.items()},
        )


def _concatenate(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
