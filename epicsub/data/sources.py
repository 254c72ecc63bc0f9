"""From a segment and times to pixels, whatever form the video has; every problem names the narration.

Shape legend: T times, H height, W width, C channels of the modality.
"""

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from epicsub.data.annotations import Segment
from epicsub.data.decode import FrameReader, last_time
from epicsub.data.decode.reader import choose_decoder, open_reader
from epicsub.data.frames import ExtractedFrames
from epicsub.data.prepared import Indexes
from epicsub.data.prepared.video import PreparedVideo
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.modality import MODALITIES, RGB, Modality, video_modality

# The lists round to hundredths and files end some frames early or late; a second too little is another matter.
LONGEST_OVERRUN = 1.0
THUMBNAIL_HEIGHT, THUMBNAIL_QUALITY = 180, 78


def read_frames(
    root: Path | str,
    video_id: str,
    seconds: Sequence[float] | np.ndarray,
    modality: str = RGB.name,
    decoder: str = "auto",
) -> np.ndarray:
    """Decode single frames of a video or of its extracted frames.

    Args:
        root: data root.
        video_id: like P01_01.
        seconds: (T,) times after the start of the video, in any order.
        modality: rgb (red, green, blue) or flow (u, v).
        decoder: of videos: auto, pyav, torchcodec or decord.

    Returns:
        uint8 (T, H, W, C): the frames on show at `seconds`.

    Raises:
        DataError: the modality is missing or damaged, the video ends before one of the times, or the decoder does not
            load here.
        ValueError: no such modality, or it has no frames.
    """
    reader = _open_original(DataRoot(root), video_id, modality, choose_decoder(decoder))
    try:
        return _frames_at(reader, np.asarray(seconds, np.float64), modality).numpy()
    finally:
        reader.close()


class ClipSource:
    """Reads frames of segments, keeping up to `cache_size` files open.

    Safe to hand to worker processes however they are started: open files are left behind.
    """

    def __init__(
        self,
        root: DataRoot,
        modalities: Sequence[str],
        decoder: str = "auto",
        cache_size: int = 16,
        prepared: Collection[str] = (),
        indexes: Indexes | None = None,
    ) -> None:
        """Choose what to read and how; no file is opened.

        Args:
            root: data root.
            modalities: names of rows of `MODALITIES` with pixels.
            decoder: see `open_reader`.
            cache_size: most files open at once, in each process.
            prepared: modalities to read from the prepared store and from nowhere else; see `choose_store`.
            indexes: of entries of the prepared store, where they have been read already.

        Raises:
            DataError: the decoder does not load here.
            ValueError: a modality has no frames, or there is none.
        """
        if not modalities or cache_size < 1:
            raise ValueError(f"modalities {modalities}, cache_size {cache_size}: at least one")
        self.root = root
        self.modalities = tuple(video_modality(name).name for name in modalities)
        self.decoder = choose_decoder(decoder)
        self.cache_size = cache_size
        self.prepared = frozenset(prepared)
        self.indexes = dict(indexes or {})
        self.cut: set[str] = set()  # narration ids of segments read here that run past their video
        self._readers: OrderedDict[tuple[str, str], FrameReader] = OrderedDict()
        self._process = os.getpid()

    @property
    def pixel_bytes(self) -> int:
        """Bytes of one pixel, all modalities."""
        return sum(MODALITIES[name].channels for name in self.modalities)

    def read(self, segment: Segment, times: np.ndarray | Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        """Read frames of a segment.

        A segment that runs past its video is cut there: times after the end give the last frame, and its narration id
        is added to `cut`.

        Args:
            segment: which video, and where it ends.
            times: (T,) seconds, or such times per modality.

        Returns:
            uint8 (T, H, W, C) per modality.

        Raises:
            DataError: a file is missing, damaged, or over a second too short; says narration id, path and reason.
        """
        clips = {}
        for modality in self.modalities:
            own_times = times[modality] if isinstance(times, Mapping) else times
            try:
                clips[modality] = self._read(segment, modality, np.asarray(own_times, np.float64))
            except DataError as error:
                if reader := self._readers.pop((segment.video_id, modality), None):
                    reader.close()
                raise DataError(f"{segment.narration_id}: {error}") from None
        return clips

    def close(self) -> None:
        """Close all files; the next read opens what it needs."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _read(self, segment: Segment, modality: str, times: np.ndarray) -> torch.Tensor:
        reader = self._reader(segment.video_id, modality)
        overrun = segment.stop - reader.duration
        if overrun > LONGEST_OVERRUN:
            path = self._path(segment.video_id, modality)
            raise DataError(
                f"{path}: lasts {reader.duration:.3f} s, the segment ends at {segment.stop:.2f} s: too short for its "
                "annotations, fetch the whole video"
            )
        if overrun > 0:
            self.cut.add(segment.narration_id)
        return _frames_at(reader, np.minimum(times, last_time(reader.duration, reader.fps)), modality)

    def _reader(self, video_id: str, modality: str) -> FrameReader:
        if self._process != os.getpid():  # forked: files opened by the parent share their position with it
            self._readers, self._process = OrderedDict(), os.getpid()
        key = (video_id, modality)
        if key in self._readers:
            self._readers.move_to_end(key)
            return self._readers[key]
        reader = self._open(video_id, modality)
        while len(self._readers) >= self.cache_size:
            self._readers.popitem(last=False)[1].close()
        self._readers[key] = reader
        return reader

    def _path(self, video_id: str, modality: str) -> Path:
        if modality in self.prepared:
            return self.root.prepared(video_id, modality)
        return self.root.require(video_id, modality)

    def _open(self, video_id: str, modality: str) -> FrameReader:
        if modality not in self.prepared:
            return _open_original(self.root, video_id, modality, self.decoder)
        path, row = self._path(video_id, modality), MODALITIES[modality]
        return _checked(PreparedVideo(path, not row.is_color, self.indexes.get((modality, video_id))), path, row)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": OrderedDict(), "cut": set()}


def middle_frames(root: DataRoot, segments: Sequence[Segment], decoder: str = "auto") -> dict[str, bytes | str]:
    """The middle frame of each segment as a small JPEG, for a report.

    Args:
        root: data root.
        segments: in any order.
        decoder: see `open_reader`.

    Returns:
        JPEG by narration id; for a frame that cannot be read, the reason.
    """
    source = ClipSource(root, (RGB.name,), decoder, cache_size=2)
    found: dict[str, bytes | str] = {}
    for segment in sorted(segments, key=lambda s: (s.video_id, s.start)):  # one video after the other
        try:
            clip = source.read(segment, np.array([(segment.start + segment.stop) / 2]))
            found[segment.narration_id] = _jpeg(clip[RGB.name][0].numpy())
        except DataError as error:
            found[segment.narration_id] = str(error)
    source.close()
    return found


def _open_original(root: DataRoot, video_id: str, modality: str, decoder: str) -> FrameReader:
    path, row = root.require(video_id, modality), MODALITIES[modality]
    if path == root.frames(video_id, modality):
        return ExtractedFrames(path, video_id, modality)
    return _checked(open_reader(path, decoder, gray=not row.is_color), path, row)


def _checked(reader: FrameReader, path: Path, row: Modality) -> FrameReader:
    if not row.is_color and reader.width % row.channels:
        width = reader.width
        raise DataError(
            f"{path}: is {width} pixels wide, expected a multiple of {row.channels} (channels side by side): "
            f"make it again with {row.command}"
        )
    return reader


def _frames_at(reader: FrameReader, times: np.ndarray, modality: str) -> torch.Tensor:
    """(T, H, W, C), from a video with gray pictures side by side (u and v of flow, see `flow.file`) too."""
    frames = reader.frames_at(times)
    return frames if frames.ndim == 4 else torch.stack(frames.chunk(MODALITIES[modality].channels, dim=-1), dim=-1)


def _jpeg(frame_HWC: np.ndarray) -> bytes:
    height, width = frame_HWC.shape[:2]
    if height > THUMBNAIL_HEIGHT:
        size = (round(width * THUMBNAIL_HEIGHT / height), THUMBNAIL_HEIGHT)
        frame_HWC = cv2.resize(frame_HWC, size, interpolation=cv2.INTER_AREA)
    written, data = cv2.imencode(".jpg", frame_HWC[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, THUMBNAIL_QUALITY])
    assert written
    return data.tobytes()
