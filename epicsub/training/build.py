"""From the recipe's settings to objects. The only code, beside the command line, that reads a Recipe; what it builds
takes plain arguments."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.utils.data import DataLoader

from epicsub.adaptation import (
    MCD,
    MMD,
    MMIR,
    MMSADA,
    TA3N,
    AdaBN,
    AdaptationMethod,
    Adversarial,
    Contrastive,
    MMIRPlus,
    Oracle,
    RewardSettings,
    RuleRemoval,
    min_delta,
    random_removal,
)
from epicsub.data.annotations import Segment, read_ids, read_skip_list
from epicsub.data.check.annotations import lengths_note, short_with_context
from epicsub.data.clips import TrainClips, ViewClips, collate, make_loader
from epicsub.data.domains import load_source, load_target
from epicsub.data.features.store import open_features
from epicsub.data.features.table import FeatureBatches, FeatureTable, FeatureViews
from epicsub.data.prepared.index import Indexes, StoreChoice, choose_store
from epicsub.data.root import DataRoot
from epicsub.data.samplers import StepSampler, batches_of_share
from epicsub.data.sampling import Views
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform
from epicsub.errors import DataError, TrainingError
from epicsub.models.build import build_model
from epicsub.models.heads import Actions, Classes
from epicsub.models.table import MODELS
from epicsub.models.two_classifiers import TwoClassifiers
from epicsub.recipe import Recipe
from epicsub.training.methods import source_weights
from epicsub.training.photometric import photometric_of

OPEN_READERS = 16  # videos kept open by one worker
Loader = DataLoader | FeatureBatches
ViewLoader = DataLoader | FeatureViews


METHODS: dict[str, Callable[..., AdaptationMethod]] = {
    "mmd": lambda model, **settings: MMD(model.feature_dims, **settings),
    "adabn": AdaBN,
    "mcd": lambda model, **settings: MCD(model.feature_dims, **settings),
    "adversarial": lambda model, **settings: Adversarial(model.feature_dims, **settings),
    "mm_sada": lambda model, **settings: MMSADA(model.feature_dims, **settings),
    "contrastive": lambda model, **settings: Contrastive(model.feature_dims, **settings),
    "ta3n": lambda model, **settings: TA3N(model.feature_dims, model.frame_dims, **settings),
    "mmir": lambda model, rewards, **settings: MMIR(
        model.feature_dims, rewards=RewardSettings(**rewards) if rewards else None, **settings
    ),
    "mmir_plus": lambda model, **settings: MMIRPlus(model.feature_dims, **settings),
    "random_removal": lambda model, **settings: RuleRemoval(model.feature_dims, random_removal, **settings),
    "min_delta": lambda model, **settings: RuleRemoval(model.feature_dims, min_delta, **settings),
    "oracle": lambda model, outliers, **settings: RuleRemoval(
        model.feature_dims, Oracle(read_ids(Path(outliers), "narration_id")), **settings
    ),
}
"""Model and settings -> method, by `adaptation.method`. Methods not named adapt nothing."""
LOOP_SETTINGS = {"method", "loss_weight", "agent_lr", "agent_momentum"}
"""What the training loop reads of `adaptation`, and no method."""


def model_of(recipe: Recipe, weights: bool, actions: torch.Tensor | None = None) -> nn.Module:
    """The recipe's model.

    Args:
        recipe: the resolved recipe.
        weights: False leaves out the published weights: a checkpoint's follow.
        actions: verb and noun of each action (A, 2), for recipes with a third head (train.losses.action).
    """
    settings, third = recipe.model, recipe.train.losses.action
    joint = None
    if third is not None:
        if actions is None:
            raise TrainingError("the recipe has a third head (train.losses.action), and no table of actions is given")
        joint = Actions(actions, third.fold, third.dropout)
    classes = Classes(verbs=recipe.classes.verbs, nouns=recipe.classes.nouns, actions=joint)
    two = recipe.adaptation.method == "mcd"
    model = build_model(
        modalities=tuple(recipe.data.modalities),
        load_weights=weights,
        classes=replace(classes, actions=None) if two else classes,  # the outer model has the head over actions
        **settings.model_dump(),
        **{name: getattr(recipe.data, name) for name in MODELS[settings.name].clip},
    )
    if two:
        inside = settings.name in ("frame_lstm", "frame_transformer")  # whose dropout is not before the heads
        model = TwoClassifiers(model, 0.0 if inside else settings.dropout, classes)
    return model


def adaptation_of(recipe: Recipe, model: nn.Module) -> AdaptationMethod | None:
    """The adaptation method for a model, or None where nothing is adapted."""
    method = recipe.adaptation.method
    if method not in METHODS:
        return None
    return METHODS[method](model, **recipe.adaptation.model_dump(exclude=LOOP_SETTINGS))


def optimizer_of(recipe: Recipe, parameters: Sequence[nn.Parameter] | Sequence[dict[str, Any]]) -> Optimizer:
    """The optimiser of model and domain discriminators, or of groups of them with factors of the learning rate.

    The stage's schedule sets the learning rate at each step.
    """
    settings = recipe.train.optimizer
    if settings.name == "sgd":
        return SGD(parameters, lr=0.0, momentum=settings.momentum, weight_decay=settings.weight_decay)
    kind = {"adam": Adam, "adamw": AdamW}[settings.name]
    return kind(parameters, lr=0.0, betas=(settings.momentum, 0.999), weight_decay=settings.weight_decay)


def agent_optimizer_of(recipe: Recipe, parameters: Sequence[nn.Parameter]) -> Optimizer | None:
    """The agents' own SGD: apart, so that weight decay and clipping of the model do not reach them."""
    if recipe.adaptation.method != "mmir" or not parameters:
        return None
    return SGD(parameters, lr=recipe.adaptation.agent_lr, momentum=recipe.adaptation.agent_momentum)


def skipped_ids(recipe: Recipe) -> set[str]:
    """Narration ids that the user has accepted to leave out."""
    return read_skip_list(Path(recipe.data.skip)) if recipe.data.skip else set()


def source_segments(recipe: Recipe, root: DataRoot) -> list[Segment]:
    """Labelled training segments."""
    classes = recipe.classes
    return load_source(root, recipe.data.source, skipped_ids(recipe), classes.verbs, classes.nouns)


def target_segments(recipe: Recipe, root: DataRoot) -> list[list[Segment]]:
    """Unlabelled segments to adapt to, one list for each of the recipe's."""
    return load_target(root, recipe.data.target, skipped_ids(recipe))


def store_of(recipe: Recipe, root: DataRoot, segments: Sequence[Segment], known: Indexes | None = None) -> StoreChoice:
    """Decide, once per run, whether all its segments are read from the originals or the prepared store.

    `known` are indexes that have been read already. Raises DataError where the recipe asks for an incomplete store.
    """
    if recipe.data.features:
        return StoreChoice(frozenset(), "features are read")
    padded = in_context(recipe, root, segments)
    return choose_store(root, padded, tuple(recipe.data.modalities), recipe.data.store, known)


def in_context(recipe: Recipe, root: DataRoot, segments: Sequence[Segment]) -> list[Segment]:
    """The segments as clips are cut from them: short ones with what `data.context` adds."""
    seconds = clip_seconds(recipe)
    if not recipe.data.context or seconds is None:
        return list(segments)
    return short_with_context(root, segments, seconds, recipe.data.context)


def _clip_source(recipe: Recipe, root: DataRoot, store: StoreChoice) -> ClipSource:
    return ClipSource(
        root, tuple(recipe.data.modalities), recipe.data.decoder, OPEN_READERS, store.prepared, store.indexes
    )


def features_of(recipe: Recipe, root: DataRoot) -> dict[str, FeatureTable]:
    """The features that the recipe names in place of videos, by modality."""
    return open_features({name: root.path / place for name, place in (recipe.data.features or {}).items()})


def reading_notes(recipe: Recipe, root: DataRoot, segments: Sequence[Segment], store: StoreChoice) -> list[str]:
    """What will be read, and what is out of the ordinary in it, a sentence each."""
    if recipe.data.features:
        places = ", ".join(dict.fromkeys(str(root.path / place) for place in recipe.data.features.values()))
        return [f"features of {len(segments)} segments are read from {places}"]
    wanted = in_context(recipe, root, segments)
    added = sum(one.stop - one.start < other.stop - other.start for one, other in zip(segments, wanted, strict=True))
    told = [f"{added} segments shorter than a clip take in what is around them"] if recipe.data.context else []
    return [*told, lengths_note(root, wanted, clip_seconds(recipe)), store.note]


def clip_seconds(recipe: Recipe) -> float | None:
    """Seconds that a dense clip covers; None where frames are spread over the whole segment."""
    data = recipe.data
    return None if data.frames is None or data.stride is None else data.frames * data.stride


def training_loader(
    recipe: Recipe,
    root: DataRoot,
    source: list[Segment],
    target: list[list[Segment]],
    store: StoreChoice,
    stage: int,
    first_step: int,
    rank: int = 0,
    ranks: int = 1,
    photometric_on_device: bool = False,
) -> Loader:
    """Batches of one stage from `first_step` on; the same step gives the same batch whatever came before.

    Of several processes each gets its share of the recipe's batch. With `photometric_on_device`, photometric
    augmentation is left to `photometric.to_device`.
    """
    settings = recipe.train.stages[stage]
    target = target if settings.target_batch else []
    sampler = StepSampler(
        source_size=len(source),
        target_sizes=[len(segments) for segments in target],
        source_batch=settings.source_batch,
        target_batch=settings.target_batch,
        seed=recipe.seed * 1000 + stage,
        first_step=first_step,
        last_step=settings.steps,
        rank=rank,
        ranks=ranks,
        source_weights=source_weights(recipe, source),
        repeats=recipe.train.sampling.repeats,
    )
    if recipe.data.features:
        return FeatureBatches(source, target, features_of(recipe, root), sampler)
    cut = recipe.data.video()
    augment = cut.augment
    transform = TrainTransform(
        short_side=cut.short_side,
        size=cut.size,
        crop=augment.crop,
        scales=augment.scales,
        area=augment.area,
        flip=augment.flip,
    )
    clips = TrainClips(
        in_context(recipe, root, source),
        [in_context(recipe, root, part) for part in target],
        _clip_source(recipe, root, store),
        frames=cut.frames,
        sampling=cut.sampling,
        stride=cut.stride,
        transform=transform,
        photometric=photometric_of(recipe),
        photometric_on_device=photometric_on_device,
        synchronised=recipe.data.synchronised,
    )
    return make_loader(clips, batch_sampler=sampler, collate=collate, workers=recipe.data.workers)


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
    """Batches of (narration ids, {modality: uint8 clips (B, V, C, T, H, W)}) for prediction, in the list's order.

    `store` is the run's choice, made here unless given. `places` are the clips to take of `views.places()`; all unless
    given. Features come as (B, 1, D) or
    (B, 1, T, D): they were made of their views. Of several processes each gets its share of the list's batches: every
    `ranks`-th from number `rank`, no batch twice.

    Raises:
        DataError: other than one plain view of features is asked for.
    """
    if recipe.data.features:
        if views != Views():
            raise DataError(f"views {views}: {recipe.name} reads features, which were made of their views: ask for 1x1")
        return FeatureViews(segments, features_of(recipe, root), recipe.evaluation.batch_size, rank, ranks)
    cut = recipe.data.video()
    clips = ViewClips(
        in_context(recipe, root, segments),
        _clip_source(recipe, root, store or store_of(recipe, root, segments)),
        frames=cut.frames,
        sampling=cut.sampling,
        stride=cut.stride,
        short_side=cut.short_side,
        size=cut.size,
        views=views,
        places=places,
    )
    batches = batches_of_share(len(segments), recipe.evaluation.batch_size, rank, ranks)
    return make_loader(clips, batch_sampler=batches, workers=recipe.data.workers)


def seed_everything_for(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """Seed torch for one step (dropout) and give a generator for the adaptation's own draws.

    Each step starts from its own seed, so a resumed run needs no random state, and two methods on the same seed see
    the same dropout masks whatever the agents drew in between.
    """
    own = ((seed * 1_000_003 + step) * 4096 + rank) * 2
    torch.manual_seed(own + 1)
    return torch.Generator().manual_seed(own)
