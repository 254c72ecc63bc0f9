"""The clips of pre-training by order: held-out videos, the fixed items of its checks, and the batches of its steps.

Shapes: V items, C channels, R frames read, S pixels of the side.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from epicsub.data.annotations import Segment
from epicsub.data.batch import collate_unlabelled
from epicsub.data.domains import TARGET
from epicsub.data.loader import make_loader
from epicsub.data.samplers import Draw, StepSampler
from epicsub.errors import TrainingError
from epicsub.pretext.order import OrderDraw, OrderTask, draw_orders, even_labels
from epicsub.pretext.shuffle import ShuffleSettings
from epicsub.progress import track
from epicsub.recipe import Recipe
from epicsub.training.loaders import Domains, train_clips

ITEMS = 77  # of the seed: what fixed items are drawn by


def with_gaps(recipe: Recipe) -> Recipe:
    """Read as many frames more as pre-training may leave out between chunks.

    Args:
        recipe: of a pre-training; any other is given back.

    Returns:
        The recipe with the frames that a clip is read with.
    """
    if recipe.pretext is None or recipe.data.frames is None:
        return recipe
    frames = recipe.data.frames + recipe.pretext.frames_skipped
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"frames": frames})})


@dataclass(frozen=True)
class HeldOut:
    """Lists without the held-out videos, and the held-out segments."""

    train: list[list[Segment]]
    items: list[Segment]

    @property
    def videos(self) -> list[str]:
        """Of the held-out segments, sorted."""
        return sorted({segment.video_id for segment in self.items})


def hold_out(lists: Sequence[Sequence[Segment]], every: int) -> HeldOut:
    """Hold out every so many videos of each list, whole: also from the other lists.

    Args:
        lists: unlabelled segments.
        every: videos.

    Returns:
        What is trained on, and what is held out.

    Raises:
        TrainingError: a list has nothing left to train on.
    """
    chosen = {video for part in lists for video in sorted({segment.video_id for segment in part})[::every]}
    train = [[segment for segment in part if segment.video_id not in chosen] for part in lists]
    empty = [number for number, part in enumerate(train, 1) if not part]
    if empty:
        raise TrainingError(
            f"list {', '.join(map(str, empty))} of data.source and data.target has held-out videos alone: pre-training "
            "holds out whole videos of each, so name lists of two videos or more"
        )
    return HeldOut(train, [segment for part in lists for segment in part if segment.video_id in chosen])


@dataclass(frozen=True)
class Items:
    """V fixed items: the same clips, permutations and draws at every check."""

    clips: dict[str, Tensor]
    """By modality, (V, C, R, S, S) uint8, as they were read."""
    draws: dict[str, OrderDraw]
    """By task."""


def read_items(
    recipe: Recipe, domains: Domains, held: HeldOut, tasks: Iterable[OrderTask], shuffle: ShuffleSettings
) -> Items:
    """Draw the fixed items and read their clips; the seed alone decides on them.

    Args:
        recipe: of the pre-training.
        domains: with the data root and store.
        held: with the held-out segments; where they are fewer than the items, each gives several.
        tasks: temporal, spatial or both, on the same clips.
        shuffle: how clips are cut.

    Returns:
        The items.

    Raises:
        DataError: a clip cannot be read.
    """
    assert recipe.pretext is not None
    count, size = recipe.pretext.items, recipe.evaluation.batch_size
    random = np.random.default_rng([recipe.seed, ITEMS])
    order = np.concatenate([random.permutation(len(held.items)) for _ in range(-(-count // len(held.items)))])[:count]
    rows = [Draw(TARGET, 0, int(place), int(random.integers(2**63))) for place in order]
    batches: Any = [rows[first : first + size] for first in range(0, count, size)]
    clips = train_clips(with_gaps(recipe), domains, [], [held.items])
    loader = make_loader(clips, batch_sampler=batches, collate=collate_unlabelled, workers=recipe.data.workers)
    read = [batch.clips for batch in track(loader, "held-out clips", len(batches))]
    generator = torch.Generator().manual_seed(recipe.seed * 1000 + ITEMS)
    draws: dict[str, OrderDraw] = {
        task.name: draw_orders(task, even_labels(task, count, generator), shuffle, generator) for task in tasks
    }
    return Items({name: torch.cat([part[name] for part in read]) for name in read[0]}, draws)


def order_loader(recipe: Recipe, domains: Domains, held: HeldOut, stage: int, first_step: int) -> DataLoader[Any]:
    """Load the batches of one stage, of all lists in balance; what is shuffled is decided on the device, later.

    Args:
        recipe: of the pre-training.
        domains: with the data root and store.
        held: with the segments to train on.
        stage: index, from 0.
        first_step: within the stage, from 0.

    Returns:
        A loader of `ClipBatch`es.

    Raises:
        DataError: a segment is not what it should be.
    """
    settings = recipe.train.stages[stage]
    sampler = StepSampler(
        source_size=0,
        target_sizes=[len(part) for part in held.train],
        source_batch=0,
        target_batch=settings.source_batch,
        seed=recipe.seed * 1000 + stage,
        first_step=first_step,
        last_step=settings.length,
    )
    clips = train_clips(with_gaps(recipe), domains, [], held.train)
    return make_loader(clips, batch_sampler=sampler, collate=collate_unlabelled, workers=recipe.data.workers)
