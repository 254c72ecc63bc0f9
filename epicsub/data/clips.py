"""From draws to training clips, and from segments to the views of evaluation.

Shape legend: B batch, V views, C channels (rgb 3, flow 2), T frames, S side of the square crop; all clips uint8.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from epicsub.data.annotations import Segment
from epicsub.data.batch import TrainClip
from epicsub.data.boxes.crop import hand_crop
from epicsub.data.boxes.slots import BoxSource, move_slots
from epicsub.data.domains import SOURCE, check_domains, noun_of
from epicsub.data.photometric import PhotometricAugmentation
from epicsub.data.samplers import Draw
from epicsub.data.sampling import Views, clip_times
from epicsub.data.sources import ClipSource
from epicsub.data.transforms import TrainTransform, view_crops, view_moves, whole_pixels
from epicsub.errors import DataError
from epicsub.modality import HAND_CROP, RGB
from epicsub.slots import BOXES

NO_AUGMENTATION = PhotometricAugmentation()


class _Read(NamedTuple):
    """Frames (T, H, W, C) of a clip as they are stored, and their times, by modality."""

    group: Draw
    clips: dict[str, torch.Tensor]
    times: dict[str, np.ndarray]


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
    boxes: BoxSource | None = None
    """Fills `slots.BOXES` at the times of rgb; None leaves them out."""
    hand_crop: bool = False
    """Add the modality of this name, by the boxes."""

    def __post_init__(self) -> None:
        check_domains(self.source, self.target)
        self._last: _Read | None = None  # what the next draw may share

    def __getitem__(self, draw: Draw) -> TrainClip:
        """Read, crop and augment one clip.

        Raises:
            DataError: the clip cannot be read.
        """
        segment = self._segment(draw)
        generator = np.random.default_rng(draw.seed)
        read = self._read(draw, segment, generator)
        height, width = next(iter(read.clips.values())).shape[1:3]
        move = self.transform.draw(height, width, generator)
        clips = self.transform.apply(read.clips, move)
        slots_TSE = None if self.boxes is None else self.boxes.fill(segment.video_id, read.times[RGB.name])
        if self.hand_crop and slots_TSE is not None:
            clips[HAND_CROP.name] = hand_crop(read.clips[RGB.name], slots_TSE, move.mirrored, self.transform.size)
        drawn_4 = self.photometric.draw(generator) if self.photometric else None
        if drawn_4 is not None and not self.photometric_on_device:
            clips = self.photometric.apply(clips, drawn_4)
        if self.boxes is not None and slots_TSE is not None:
            height, width = read.clips[RGB.name].shape[1:3]
            cut = whole_pixels(move.cut, height, width)
            moved_TSE = move_slots(slots_TSE, cut, move.mirrored, self.boxes.settings.min_visible)
            clips[BOXES] = torch.from_numpy(moved_TSE)
        labelled = draw.domain == SOURCE
        return TrainClip(
            domain=draw.domain,
            narration_id=segment.narration_id,
            clips=clips,
            verb=segment.verb_class if labelled else None,
            noun=noun_of(segment) if labelled else None,
            photometric_4=drawn_4 if self.photometric_on_device else None,
        )

    @property
    def item_bytes(self) -> int:
        """Of one clip, all modalities."""
        return self.clip_source.pixel_bytes * self.frames * self.transform.size**2

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

    def _read(self, draw: Draw, segment: Segment, generator: np.random.Generator) -> "_Read":
        if draw.times_seed is not None:
            if self._last is not None and self._last.group == self.frames_of(draw):
                return self._last
            generator = np.random.default_rng(draw.times_seed)
        times: dict[str, np.ndarray] = {}
        for modality in self.clip_source.modalities:
            if not times or not self.synchronised:
                own_times = self._times(segment, generator)
            times[modality] = own_times
        read = _Read(self.frames_of(draw), self.clip_source.read(segment, times), times)
        if draw.times_seed is not None:
            self._last = read
        return read

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
    boxes: BoxSource | None = None
    """Fills `slots.BOXES`, (V, slices, 6, 12); None leaves them out."""
    hand_crop: bool = False
    """Add the modality of this name, by the boxes: the same for all crops of a clip."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.short_side:
            raise ValueError(f"size {self.size} from short_side {self.short_side}")
        if self.stride is None and self.views.strides != (1.0,):
            raise DataError(
                f"views {self.views}: {self.sampling} sampling has no stride to multiply; leave out what follows the @"
            )

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def item_bytes(self) -> int:
        """Of the views of one segment, all modalities."""
        clips = len(self.views.places() if self.places is None else self.places)
        return self.clip_source.pixel_bytes * self.frames * self.size**2 * clips * self.views.each

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
            if modality == RGB.name and self.boxes is not None:
                clips |= self._by_boxes(self.boxes, segment, times, all_THWC)
        return segment.narration_id, clips

    def _by_boxes(
        self, boxes: BoxSource, segment: Segment, times: np.ndarray, all_THWC: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Slots (V, T, S, E), and the crops of the hands where they are asked for, in the order of the views."""
        height, width = all_THWC.shape[1:3]
        moves = view_moves(height, width, self.short_side, self.size, self.views.crops, self.views.flip)
        of_clips = [boxes.fill(segment.video_id, part) for part in times.reshape(-1, self.frames)]
        least = boxes.settings.min_visible
        views = [move_slots(slots_TSE, move.cut, move.mirrored, least) for slots_TSE in of_clips for move in moves]
        made = {BOXES: torch.from_numpy(np.stack(views))}
        if self.hand_crop:
            pairs = list(zip(all_THWC.reshape(-1, self.frames, *all_THWC.shape[1:]), of_clips, strict=True))
            shown = [hand_crop(*pair, move.mirrored, self.size) for pair in pairs for move in moves]
            made[HAND_CROP.name] = torch.stack([clip.movedim(0, -1) for clip in shown]).movedim(-1, 1)
        return made

    def _times(self, segment: Segment, factor: float, position: float) -> np.ndarray:
        stride = None if self.stride is None else self.stride * factor
        return clip_times(segment.start, segment.stop, self.frames, self.sampling, stride, position)
