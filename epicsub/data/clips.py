"""From draws to training batches, from segments to the views of evaluation, and the loader of both.

Shape legend: B batch, V views, C channels (rgb 3, flow 2), T frames, S side of the square crop; all clips uint8.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from epicsub.data.annotations import Segment
from epicsub.data.batch import TrainClip, collate_views
from epicsub.data.domains import SOURCE, check_domains, noun_of
from epicsub.data.loader import (
    POLL_SECONDS,
    ClipLoader,
    ReportingCollate,
    ReportingDataset,
    set_up_worker,
    workers_of_machine,
)
from epicsub.data.photometric import PhotometricAugmentation
from epicsub.data.samplers import Draw
from epicsub.data.sampling import Views, clip_times
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform, view_crops
from epicsub.errors import DataError

NO_AUGMENTATION = PhotometricAugmentation()


class TrainClips(Dataset[TrainClip]):
    """Training clips, indexed by `Draw`."""

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
        photometric: PhotometricAugmentation = NO_AUGMENTATION,
        photometric_on_device: bool = False,
        synchronised: bool = True,
    ) -> None:
        """Clips of `source` (labelled) and of each list of `target` (unlabelled).

        Args:
            source: labelled segments.
            target: lists of unlabelled segments.
            clip_source: reads the frames.
            frames: per clip; this and the next two as in `sampling.clip_times`.
            sampling: dense or uniform.
            stride: seconds between two frames, or None.
            transform: crops and mirrors.
            photometric: augmentation of the cropped clips.
            photometric_on_device: leave it to `PhotometricAugmentation.apply_batch`; items then hold the
                parameters drawn for them.
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
        self.photometric = photometric
        self.photometric_on_device = photometric_on_device
        self.synchronised = synchronised
        self._last: tuple[Draw | None, dict[str, torch.Tensor]] = (None, {})  # what the next draw may share

    def __getitem__(self, draw: Draw) -> TrainClip:
        """Read, crop and augment one clip.

        Raises:
            DataError: the clip cannot be read.
        """
        segment = self._segment(draw)
        generator = np.random.default_rng(draw.seed)
        clips = self.transform(self._frames(draw, segment, generator), generator)
        drawn_4 = self.photometric.draw(generator) if self.photometric else None
        if drawn_4 is not None and not self.photometric_on_device:
            clips = self.photometric.apply(clips, drawn_4)
        labelled = draw.domain == SOURCE
        return TrainClip(
            domain=draw.domain,
            narration_id=segment.narration_id,
            clips=clips,
            verb=segment.verb_class if labelled else None,
            noun=noun_of(segment) if labelled else None,
            photometric_4=drawn_4 if self.photometric_on_device else None,
        )

    def frames_of(self, draw: Draw) -> Draw:
        """Group draws that share their frames: read one after the other, they are decoded once.

        Args:
            draw: of a sampler.

        Returns:
            The same for all draws of a group.
        """
        return draw if draw.times_seed is None else draw._replace(seed=0)

    def name_of(self, draw: Draw) -> str:
        """Name a draw in messages.

        Args:
            draw: of a sampler.

        Returns:
            Its narration id.
        """
        return self._segment(draw).narration_id

    def _segment(self, draw: Draw) -> Segment:
        segments = self.source if draw.domain == SOURCE else self.target[draw.list_index]
        return segments[draw.segment_index]

    def _frames(self, draw: Draw, segment: Segment, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """Frames {modality: (T, H, W, C)}, as they are stored."""
        if draw.times_seed is not None:
            if self._last[0] == self.frames_of(draw):
                return self._last[1]
            generator = np.random.default_rng(draw.times_seed)
        times: dict[str, np.ndarray] = {}
        for modality in self.clip_source.modalities:
            if not times or not self.synchronised:
                own_times = self._times(segment, generator)
            times[modality] = own_times
        clips = self.clip_source.read(segment, times)
        if draw.times_seed is not None:
            self._last = (self.frames_of(draw), clips)
        return clips

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
            segments: in the order of the items.
            clip_source: reads the frames.
            frames: per clip.
            sampling: dense or uniform.
            stride: seconds between two frames, or None.
            short_side: pixels that pictures are resized to.
            size: pixels of a crop's side.
            views: clips, crops and mirror images of a segment.
            places: the clips to take of `views.places()`; all unless given.

        Raises:
            DataError: stride factors where frames are spread over the whole segment, which has no stride.
            ValueError: `size` is below 1 or above `short_side`.
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

    def name_of(self, index: int) -> str:
        """Name an item in messages.

        Args:
            index: of a segment.

        Returns:
            Its narration id.
        """
        return self.segments[index].narration_id

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
            by_clip = views_VCTSS.reshape(
                *views_VCTSS.shape[:2], len(self.places), self.frames, *views_VCTSS.shape[3:]
            )  # (crops, C, clips, T, S, S)
            clips[modality] = by_clip.permute(2, 0, 1, 3, 4, 5).flatten(0, 1)
        return segment.narration_id, clips

    def _times(self, segment: Segment, factor: float, position: float) -> np.ndarray:
        stride = None if self.stride is None else self.stride * factor
        return clip_times(segment.start, segment.stop, self.frames, self.sampling, stride, position)


def make_loader(
    dataset: Dataset[Any],
    *,
    batch_sampler: Sampler[list[Draw]] | Sequence[list[int]] | None = None,
    batch_size: int | None = None,
    collate: Callable[[Sequence[Any]], Any] | None = None,
    workers: int | None = None,
) -> "ClipLoader":
    """A loader of `dataset`, by a batch sampler (or a list of batches) or in order by `batch_size`.

    Iterating raises `DataError` with all problems of a batch, as their messages were, also from a worker, and where a
    worker has been at one item for too long (see `loader.STUCK_AFTER`).

    Args:
        dataset: `TrainClips` or `ViewClips`.
        batch_sampler: batches of indexes; instead of `batch_size`.
        batch_size: items of a batch, in order.
        collate: `collate_views` unless given.
        workers: processes; None takes one for each core that this process may use, from 1 to 16. With 0 the items are
            read in this process, and a decoder that is stuck stays so.

    Returns:
        The loader.

    Raises:
        ValueError: neither or both of `batch_sampler` and `batch_size`.
    """
    if (batch_sampler is None) == (batch_size is None):
        raise ValueError("either batch_sampler or batch_size")
    count = workers_of_machine() if workers is None else workers
    return ClipLoader(
        ReportingDataset(dataset, count),
        batch_sampler=batch_sampler,
        batch_size=batch_size or 1,  # torch wants 1 beside a batch sampler
        collate_fn=ReportingCollate(collate or collate_views),
        num_workers=count,
        persistent_workers=count > 0,
        worker_init_fn=set_up_worker if count else None,
        pin_memory=torch.cuda.is_available(),
        timeout=POLL_SECONDS if count else 0,
    )
