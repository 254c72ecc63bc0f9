"""From the recipe's data settings to segments, clips and batches, for training and for prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader

from epicsub.data.annotations import Segment, read_skip_list
from epicsub.data.batch import collate
from epicsub.data.check import lengths_note, short_with_context
from epicsub.data.clips import TrainClips, ViewClips
from epicsub.data.domains import load_source, load_target
from epicsub.data.features import FeatureTable
from epicsub.data.features.batches import FeatureBatches, FeatureViews
from epicsub.data.features.store import open_features
from epicsub.data.loader import make_loader
from epicsub.data.prepared import Indexes, StoreChoice, choose_store
from epicsub.data.root import DataRoot
from epicsub.data.samplers import batches_of_share
from epicsub.data.sampling import Views
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform
from epicsub.errors import DataError
from epicsub.io import user_path
from epicsub.modality import with_files
from epicsub.recipe import Recipe
from epicsub.recipe.model import window_of
from epicsub.training.augmentation import photometric_of
from epicsub.training.boxes import box_source_of
from epicsub.training.distill import Teacher
from epicsub.training.draws import sampler_of

OPEN_READERS = 16  # videos kept open by one worker
Loader = DataLoader[Any] | FeatureBatches
ViewLoader = DataLoader[Any] | FeatureViews


@dataclass(frozen=True, kw_only=True)
class Domains:
    """What a run learns from. Target segments come without labels (data/domains.py)."""

    root: DataRoot
    source: list[Segment]
    target: list[list[Segment]]
    """One list per list of the recipe."""
    store: StoreChoice
    """Which modalities of all these segments are read from the prepared store."""
    lists: dict[str, str]
    """SHA-256 of each annotation list and of the teacher, by file name; of features, of what made them."""
    teacher: Teacher | None = None

    @property
    def target_segments(self) -> list[Segment]:
        """Of all target lists."""
        return [segment for segments in self.target for segment in segments]


def skipped_ids(recipe: Recipe) -> set[str]:
    """Read the narration ids that the user has accepted to leave out.

    Args:
        recipe: names the file in `data.skip`.

    Returns:
        The ids; empty without a file. A file that cannot be read is a DataError.
    """
    return read_skip_list(user_path(recipe.data.skip)) if recipe.data.skip else set()


def source_segments(recipe: Recipe, root: DataRoot) -> list[Segment]:
    """Read the labelled training segments.

    Args:
        recipe: names the lists.
        root: the data root.

    Returns:
        The segments of all lists; for what is refused see `load_source`.
    """
    classes = recipe.classes
    return load_source(root, recipe.data.source, skipped_ids(recipe), classes.verbs, classes.nouns)


def target_segments(recipe: Recipe, root: DataRoot) -> list[list[Segment]]:
    """Read the segments to adapt to, or in pre-training those of all lists, without labels.

    Args:
        recipe: names the lists.
        root: the data root.

    Returns:
        The segments of each list; for what is refused see `load_target`.
    """
    lists = recipe.data.target if recipe.pretext is None else (*recipe.data.source, *recipe.data.target)
    return load_target(root, lists, skipped_ids(recipe))


def store_of(recipe: Recipe, root: DataRoot, segments: Sequence[Segment], known: Indexes | None = None) -> StoreChoice:
    """Decide, once per run, whether all its segments are read from the originals or the prepared store.

    Args:
        recipe: with `data.store`.
        root: the data root.
        segments: all of the run.
        known: indexes that have been read already.

    Returns:
        What is read from the store, and a note about it.

    Raises:
        DataError: the recipe asks for a store that is incomplete.
    """
    if recipe.data.features:
        return StoreChoice(frozenset(), "features are read")
    padded = _in_context(recipe, root, segments)
    return choose_store(root, padded, with_files(recipe.data.modalities), recipe.data.store, known)


def features_of(recipe: Recipe, root: DataRoot) -> dict[str, FeatureTable]:
    """Open the features that the recipe names in place of videos.

    Args:
        recipe: with `data.features`.
        root: the data root.

    Returns:
        A table per modality; empty where the recipe reads videos.

    Raises:
        DataError: a folder holds no features.
    """
    return open_features({name: root.path / user_path(place) for name, place in (recipe.data.features or {}).items()})


def reading_notes(recipe: Recipe, root: DataRoot, segments: Sequence[Segment], store: StoreChoice) -> list[str]:
    """Describe what will be read, and what is unusual in it.

    Args:
        recipe: says how clips are cut.
        root: the data root.
        segments: all of the run.
        store: the run's choice.

    Returns:
        Lines for the log.
    """
    if recipe.data.features:
        places = ", ".join(dict.fromkeys(str(root.path / place) for place in recipe.data.features.values()))
        return [f"features of {len(segments)} segments are read from {places}"]
    padded = _in_context(recipe, root, segments)
    longer = sum(one.stop - one.start < other.stop - other.start for one, other in zip(segments, padded, strict=True))
    notes = [f"{longer} segments shorter than a clip take in what is around them"] if recipe.data.context else []
    return [*notes, lengths_note(root, padded, _clip_seconds(recipe)), store.note]


def training_loader(
    recipe: Recipe,
    domains: Domains,
    stage: int,
    first_step: int,
    rank: int = 0,
    ranks: int = 1,
    photometric_on_device: bool = False,
) -> Loader:
    """Load the batches of one stage; the same step gives the same batch whatever came before.

    Args:
        recipe: says how clips are cut and augmented.
        domains: the segments.
        stage: index, from 0.
        first_step: within the stage, from 0; batches begin there.
        rank: of several processes each gets its share of the recipe's batch.
        ranks: number of processes.
        photometric_on_device: leave photometric augmentation to `to_device`.

    Returns:
        A loader of `Batch`es.

    Raises:
        DataError: source or target are not what they should be, or segments lack features.
    """
    source, target = domains.source, domains.target if recipe.train.stages[stage].target_batch else []
    sampler = sampler_of(recipe, source, target, stage, first_step, rank, ranks)
    if recipe.data.features:
        return FeatureBatches(source, target, features_of(recipe, domains.root), sampler, window_of(recipe.model))
    clips = train_clips(recipe, domains, source, target, photometric_on_device)
    return make_loader(clips, batch_sampler=sampler, collate=collate, workers=recipe.data.workers)


def train_clips(
    recipe: Recipe,
    domains: Domains,
    source: Sequence[Segment],
    target: Sequence[Sequence[Segment]],
    photometric_on_device: bool = False,
) -> TrainClips:
    """Make the clips of training from segments.

    Args:
        recipe: says how clips are cut and augmented.
        domains: with the data root and the run's store.
        source: labelled segments.
        target: lists of unlabelled segments.
        photometric_on_device: leave photometric augmentation to `to_device`.

    Returns:
        Clips by draw.

    Raises:
        DataError: source or target are not what they should be.
    """
    cut = recipe.data.video()
    augment = cut.augment
    return TrainClips(
        _in_context(recipe, domains.root, source),
        [_in_context(recipe, domains.root, part) for part in target],
        _clip_source(recipe, domains.root, domains.store),
        frames=cut.frames,
        sampling=cut.sampling,
        stride=cut.stride,
        transform=TrainTransform(cut.short_side, cut.size, augment.crop, augment.scales, augment.area, augment.flip),
        photometric=photometric_of(recipe),
        photometric_on_device=photometric_on_device,
        synchronised=recipe.data.synchronised,
        boxes=box_source_of(recipe, domains.root),
        hand_crop=recipe.data.crop is not None,
    )


def view_loader(
    recipe: Recipe,
    root: DataRoot,
    segments: Sequence[Segment],
    views: Views,
    store: StoreChoice | None = None,
    places: Sequence[tuple[float, float]] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> ViewLoader:
    """Load the views of segments for prediction, in the list's order.

    Args:
        recipe: says how clips are cut.
        root: the data root.
        segments: the list.
        views: views per segment.
        store: the run's choice; made here unless given.
        places: clips to take of `views.places()`; all unless given.
        rank: of several processes each gets every `ranks`-th of the list's batches.
        ranks: number of processes.

    Returns:
        A loader of (narration ids, {modality: uint8 clips (B, V, C, T, H, W)}); features are (B, 1, D) or
        (B, 1, T, D), as they were made of their views.

    Raises:
        DataError: other than one plain view of features is asked for.
    """
    if recipe.data.features:
        if views != Views():
            raise DataError(f"views {views}: {recipe.name} reads features, which were made of their views: ask for 1x1")
        tables, size = features_of(recipe, root), recipe.evaluation.batch_size
        return FeatureViews(segments, tables, size, rank, ranks, window_of(recipe.model))
    cut = recipe.data.video()
    clips = ViewClips(
        _in_context(recipe, root, segments),
        _clip_source(recipe, root, store or store_of(recipe, root, segments)),
        frames=cut.frames,
        sampling=cut.sampling,
        stride=cut.stride,
        short_side=cut.short_side,
        size=cut.size,
        views=views,
        places=places,
        boxes=box_source_of(recipe, root),
        hand_crop=recipe.data.crop is not None,
    )
    batches = batches_of_share(len(segments), recipe.evaluation.batch_size, rank, ranks)
    return make_loader(clips, batch_sampler=batches, workers=recipe.data.workers)


def _in_context(recipe: Recipe, root: DataRoot, segments: Sequence[Segment]) -> list[Segment]:
    """The segments as clips are cut from them: short ones with what `data.context` adds."""
    seconds = _clip_seconds(recipe)
    if not recipe.data.context or seconds is None:
        return list(segments)
    return short_with_context(root, segments, seconds, recipe.data.context)


def _clip_seconds(recipe: Recipe) -> float | None:
    """Seconds that a dense clip covers; None where frames are spread over the whole segment."""
    data = recipe.data
    return None if data.frames is None or data.stride is None else data.frames * data.stride


def _clip_source(recipe: Recipe, root: DataRoot, store: StoreChoice) -> ClipSource:
    return ClipSource(
        root, with_files(recipe.data.modalities), recipe.data.decoder, OPEN_READERS, store.prepared, store.indexes
    )
