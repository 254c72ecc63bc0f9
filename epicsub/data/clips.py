"""From draws to training clips, and from segments to the views of evaluation.

Shape legend: B batch, V views, C channels (rgb 3, flow 2), T frames, S side of the square crop; all clips uint8.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from epicsub.data.annotations import Segment
from epicsub.data.batch import TrainClip
from epicsub.data.domains import SOURCE, check_domains, noun_of
from epicsub.data.photometric import PhotometricAugmentation
from epicsub.data.samplers import Draw
from epicsub.data.sampling import Views, clip_times
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform, view_crops
from epicsub.errors import DataError

NO_AUGMENTATION = PhotometricAugmentation()


@dataclass(eq=False)
class TrainClips(Dataset[TrainClip]):
    """Training clips, indexed by `Draw`.

    Raises:
        DataError: the source has no labels, the target has some, or a narration id is in both.
    """

    source: Sequence[Segment]
    """Labelled segments."""
    target: Sequence[Sequence[Segment]]
    """Lists of unlabelled segments."""
    clip_source: ClipSource
    """Reads the frames."""
    _: KW_ONLY
    frames: int
    """Per clip; this and the next two as in `sampling.clip_times`."""
    sampling: str
    """Dense or uniform."""
    stride: float | None
    """Seconds between two frames, or None."""
    transform: TrainTransform
    """Crops and mirrors."""
    photometric: PhotometricAugmentation = NO_AUGMENTATION
    """Augmentation of the cropped clips."""
    photometric_on_device: bool = False
    """Leave it to `PhotometricAugmentation.apply_batch`; items then hold the parameters drawn for them."""
    synchronised: bool = True
    """All modalities of a clip at the same times; else each draws its own position."""

    def __post_init__(self) -> None:
        check_domains(self.source, self.target)
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


@dataclass(eq=False)
class ViewClips(Dataset[tuple[str, dict[str, torch.Tensor]]]):
    """The views of each segment for evaluation: narration id, {modality: (V, C, T, S, S)}.

    Views go stride by stride, clip by clip, crop by crop, each followed by its mirror image where `views.flip`.

    Raises:
        DataError: stride factors where frames are spread over the whole segment, which has no stride.
        ValueError: `size` is below 1 or above `short_side`.
    """

    segments: Sequence[Segment]
    """In the order of the items."""
    clip_source: ClipSource
    """Reads the frames."""
    _: KW_ONLY
    frames: int
    """Per clip; this and the next two as in `sampling.clip_times`."""
    sampling: str
    """Dense or uniform."""
    stride: float | None
    """Seconds between two frames, or None."""
    short_side: int
    """Pixels that pictures are resized to."""
    size: int
    """Pixels of a crop's side."""
    views: Views
    """Clips, crops and mirror images of a segment."""
    places: Sequence[tuple[float, float]] | None = None
    """The clips to take of `views.places()`; None: all."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.short_side:
            raise ValueError(f"size {self.size} from short_side {self.short_side}")
        if self.stride is None and self.views.strides != (1.0,):
            raise DataError(
                f"views {self.views}: {self.sampling} sampling has no stride to multiply; leave out what follows the @"
            )

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
        places = self.views.places() if self.places is None else self.places
        times = np.concatenate([self._times(segment, factor, position) for factor, position in places])
        clips = {}
        for modality, all_THWC in self.clip_source.read(segment, times).items():
            views_VCTSS = view_crops(all_THWC, modality, self.short_side, self.size, self.views.crops, self.views.flip)
            by_clip = views_VCTSS.reshape(
                *views_VCTSS.shape[:2], len(places), self.frames, *views_VCTSS.shape[3:]
            )  # (crops, C, clips, T, S, S)
            clips[modality] = by_clip.permute(2, 0, 1, 3, 4, 5).flatten(0, 1)
        return segment.narration_id, clips

    def _times(self, segment: Segment, factor: float, position: float) -> np.ndarray:
        stride = None if self.stride is None else self.stride * factor
        return clip_times(segment.start, segment.stop, self.frames, self.sampling, stride, position)
