"""From draws to training batches, from segments to the views of evaluation, and the loader of both.

Shape legend: B batch, V views, C channels (rgb 3, flow 2), T frames, S side of the square crop; all clips uint8.
"""

import ctypes
import os
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from epicsub.data.annotations import Segment
from epicsub.data.batches import Draw
from epicsub.data.domains import SOURCE, check_domains
from epicsub.data.sampling import clip_times
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform, view_crops
from epicsub.data.views import Views
from epicsub.errors import DataError

MOST_WORKERS = 16
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


class TrainClips(Dataset[dict[str, Any]]):
    """Training clips, indexed by `Draw`. Items of the target domain have no `verb` and no `noun`."""

    def __init__(
        self,
        source: Sequence[Segment],
        target: Sequence[Sequence[Segment]],
        clip_source: ClipSource,
        *,
        frames: int,
        sampling: str,
        stride: float | None,
        transform: TrainTransform,
        synchronised: bool = True,
    ) -> None:
        """Clips of `source` (labelled) and of each list of `target` (unlabelled).

        Args:
            frames, sampling, stride: see `sampling.clip_times`.
            synchronised: all modalities of a clip at the same times; else each draws its own position.

        Raises:
            DataError: the source has no labels, the target has some, or a narration id is in both.
        """
        check_domains(source, target)
        self.source = source
        self.target = target
        self.clip_source = clip_source
        self.frames = frames
        self.sampling = sampling
        self.stride = stride
        self.transform = transform
        self.synchronised = synchronised

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """{"domain", "narration_id", "clips": {modality: (C, T, S, S)}}, and "verb" and "noun" for the source.

        Raises:
            DataError: the clip cannot be read.
        """
        segments = self.source if draw.domain == SOURCE else self.target[draw.list_index]
        segment = segments[draw.segment_index]
        generator = np.random.default_rng(draw.seed)
        times: dict[str, np.ndarray] = {}
        for modality in self.clip_source.modalities:
            if not times or not self.synchronised:
                wanted = self._times(segment, generator)
            times[modality] = wanted
        clips = self.transform(self.clip_source.read(segment, times), generator)
        item: dict[str, Any] = {"domain": draw.domain, "narration_id": segment.narration_id, "clips": clips}
        if draw.domain == SOURCE:
            item |= {"verb": segment.verb_class, "noun": segment.noun_class}
        return item

    def _times(self, segment: Segment, generator: np.random.Generator) -> np.ndarray:
        place = generator.random() if self.sampling == "dense" else generator.random(self.frames)
        return clip_times(segment.start, segment.stop, self.frames, self.sampling, self.stride, place)


class ViewClips(Dataset[tuple[str, dict[str, torch.Tensor]]]):
    """The views of each segment for evaluation: narration id, {modality: (V, C, T, S, S)}.

    Views go stride by stride, clip by clip, crop by crop, each followed by its mirror image where `views.flip`.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        clip_source: ClipSource,
        *,
        frames: int,
        sampling: str,
        stride: float | None,
        short_side: int,
        size: int,
        views: Views,
        places: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        """Crops of `size` pixels from pictures resized to `short_side`; see `sampling.clip_times` for the rest.

        Args:
            places: the clips to take of `views.places()`; all unless given.

        Raises:
            DataError: stride factors where frames are spread over the whole segment, which has no stride.
        """
        if not 1 <= size <= short_side:
            raise ValueError(f"size {size} from short_side {short_side}")
        if stride is None and views.strides != (1.0,):
            raise DataError(
                f"views {views}: {sampling} sampling has no stride to multiply; leave out what follows the @"
            )
        self.segments = segments
        self.clip_source = clip_source
        self.frames = frames
        self.sampling = sampling
        self.stride = stride
        self.short_side = short_side
        self.size = size
        self.views = views
        self.places = views.places() if places is None else list(places)

    def __len__(self) -> int:
        return len(self.segments)

    def __getitem__(self, index: int) -> tuple[str, dict[str, torch.Tensor]]:
        """The views of one segment; all their frames are decoded in one pass.

        Raises:
            DataError: a frame cannot be read.
        """
        segment = self.segments[index]
        times = np.concatenate([self._times(segment, factor, position) for factor, position in self.places])
        clips = {}
        for modality, all_THWC in self.clip_source.read(segment, times).items():
            views_VCTSS = view_crops(all_THWC, modality, self.short_side, self.size, self.views.crops, self.views.flip)
            by_clip = views_VCTSS.unflatten(2, (len(self.places), self.frames))  # (crops, C, clips, T, S, S)
            clips[modality] = by_clip.permute(2, 0, 1, 3, 4, 5).flatten(0, 1)
        return segment.narration_id, clips

    def _times(self, segment: Segment, factor: float, position: float) -> np.ndarray:
        stride = None if self.stride is None else self.stride * factor
        return clip_times(segment.start, segment.stop, self.frames, self.sampling, stride, position)


def collate(items: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Items of `TrainClips` -> {"source": {...}, "target": {...}}, either left out when it has none.

    "clips" {modality: (B, C, T, S, S) in channels_last_3d memory}, "narration_id" list; the source also "verb" and
    "noun" (B,) int64. The target has no labels to give.
    """
    batch: dict[str, dict[str, Any]] = {}
    for name, domain in (("source", SOURCE), ("target", 1 - SOURCE)):
        chosen = [item for item in items if item["domain"] == domain]
        if not chosen:
            continue
        batch[name] = {
            "clips": _stack_clips([item["clips"] for item in chosen]),
            "narration_id": [item["narration_id"] for item in chosen],
        }
    if "source" in batch:
        for label in ("verb", "noun"):
            batch["source"][label] = torch.tensor([item[label] for item in items if item["domain"] == SOURCE])
    return batch


def collate_views(
    items: Sequence[tuple[str, dict[str, torch.Tensor]]],
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Items of `ViewClips` -> narration ids, {modality: (B, V, C, T, S, S)}."""
    return [identity for identity, _ in items], _stack_clips([clips for _, clips in items])


def make_loader(
    dataset: Dataset[Any],
    *,
    batch_sampler: Sampler[list[Draw]] | None = None,
    batch_size: int | None = None,
    collate: Callable[[Sequence[Any]], Any] | None = None,
    workers: int | None = None,
) -> "ClipLoader":
    """A loader of `dataset`, by a batch sampler or in order by `batch_size`.

    Args:
        collate: `collate_views` unless given.
        workers: processes; None takes one for each core that this process may use (up to 16), and none on one core.

    Iterating raises `DataError` with all problems of a batch, as their messages were, also from a worker.
    """
    if (batch_sampler is None) == (batch_size is None):
        raise ValueError("either batch_sampler or batch_size")
    count = workers_of_machine() if workers is None else workers
    return ClipLoader(
        _Told(dataset),
        batch_sampler=batch_sampler,
        batch_size=batch_size or 1,  # torch wants 1 beside a batch sampler
        collate_fn=_CollateTold(collate or collate_views),
        num_workers=count,
        persistent_workers=count > 0,
        worker_init_fn=set_up_worker if count else None,
        pin_memory=torch.cuda.is_available(),
    )


def workers_of_machine() -> int:
    """One worker for each core this process may use, up to 16; none where there is one core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if cores == 1 else min(cores, MOST_WORKERS)


class ClipLoader(DataLoader):
    """A DataLoader that raises a worker's DataError as itself.

    torch would raise it with the worker's traceback as its message, and only the first of a batch. It would also wait
    five seconds for each worker when an exception keeps the loader until the garbage collector takes it, because the
    collector closes the queues before the loader can say goodbye. A finalizer, which keeps them, says it in time.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator is what a loop needs
        batches = super().__iter__()
        if self.num_workers and not hasattr(self, "_goodbye"):  # workers persist: there is one iterator
            self._goodbye = weakref.finalize(self, _stop_workers, batches, os.getpid())
        for batch in batches:
            if isinstance(batch, _Problem):
                raise DataError(batch.message)
            yield batch


class _Problem(NamedTuple):
    """What a worker hands over instead of an item it could not read."""

    message: str


class _Told(Dataset[Any]):
    """A dataset whose DataErrors are handed over as `_Problem`."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.dataset[index]
        except DataError as error:
            return _Problem(str(error))

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # asked only of datasets that have one


class _CollateTold:
    """Collates whole batches; of others, the problems, each once."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Any]) -> Any:
        problems = dict.fromkeys(item.message for item in items if isinstance(item, _Problem))
        return _Problem("\n".join(problems)) if problems else self.collate(items)


def _stack_clips(clips: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack (..., C, T, S, S) clips of a batch without taking them out of channels-last memory."""
    return {
        modality: torch.stack([clip[modality].movedim(-4, -1) for clip in clips]).movedim(-1, -4)
        for modality in clips[0]
    }


def _stop_workers(batches: Any, process: int) -> None:
    if os.getpid() == process:  # not in a forked worker, which has a copy of this finalizer
        batches._shutdown_workers()


def set_up_worker(worker: int) -> None:
    """One thread, because the workers are the parallelism; and memory that is kept from clip to clip.

    glibc gives blocks over 128 kB back to the system at once, and the system clears them for the next clip: a fifth of
    a worker's time on clips of the prepared store (measured: 82 clips a second, 104 with this).
    """
    torch.set_num_threads(1)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # other C libraries have none
        mallopt(MMAP_THRESHOLD, 32 << 20)  # the most it takes
        mallopt(TRIM_THRESHOLD, 256 << 20)
