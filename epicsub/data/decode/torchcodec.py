"""Reading a video through torchcodec, where the system has FFmpeg's libraries.

torchcodec's exact mode reads the whole file on opening to learn every timestamp. Its approximate mode opens at once and
finds frames by the mean frame rate. It is opened in approximate mode; if a timestamp that comes back is not that of
the frame on show, the file is opened again in exact mode, once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicsub.data.decode.base import HALF_MILLISECOND, VideoFile, first_line


class TorchcodecReader(VideoFile):
    """One open video file; see `FrameReader`."""

    def __init__(self, path: Path) -> None:
        """Open a video file.

        Args:
            path: the file.

        Raises:
            DataError: FFmpeg cannot open it, or it holds no video.
        """
        self.path = path
        self._exact = False
        self._decoder = self._open("approximate")
        metadata = self._decoder.metadata
        whole = metadata.duration_seconds or 0.0
        if metadata.duration_seconds_from_header is None:  # sound may outlast the pictures: read where these end
            self._decoder, self._exact = self._open("exact"), True
            metadata = self._decoder.metadata
        if not metadata.average_fps or not metadata.duration_seconds or not metadata.width or not metadata.height:
            raise self._error("states no frame rate, duration or size; remux it with ffmpeg -c copy")
        if rotation := getattr(metadata, "rotation", None):
            raise self._rotated(rotation)
        self.fps = float(metadata.average_fps)
        self.width, self.height = int(metadata.width), int(metadata.height)
        self._start = float(metadata.begin_stream_seconds or 0.0)
        seconds = float(metadata.duration_seconds)
        self.duration = whole if whole - seconds > 1.0 else seconds  # cut off: the header's figure, so that it shows

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C = 3.
        """
        times = np.asarray(times, dtype=np.float64)
        if not self._exact:
            frames = self._approximate(times)
            if frames is not None:
                return frames
            self._decoder, self._exact = self._open("exact"), True
        return self._exactly(times)

    def close(self) -> None:
        """Close the file."""
        del self._decoder

    def _approximate(self, times: np.ndarray) -> torch.Tensor | None:
        """The frames by the mean frame rate; None if one of them is not the frame on show."""
        count = max(1, round(self.duration * self.fps))
        indices = np.floor((times + HALF_MILLISECOND) * self.fps).astype(np.int64)
        if (indices >= count).any():
            return None
        try:
            batch = self._decoder.get_frames_at(indices=indices.tolist())
        except (RuntimeError, ValueError, IndexError):
            return None  # the exact mode says what is wrong
        shown = batch.pts_seconds.numpy() - self._start
        limits = times + HALF_MILLISECOND
        right = (shown <= limits) & (limits < shown + batch.duration_seconds.numpy())
        return batch.data if right.all() else None

    def _exactly(self, times: np.ndarray) -> torch.Tensor:
        metadata = self._decoder.metadata
        start, end = float(metadata.begin_stream_seconds), float(metadata.end_stream_seconds)
        late = times[times + HALF_MILLISECOND >= end - start + 1 / self.fps]
        if len(late):
            raise self._ends_before(late.max(), end - start)
        seconds = np.clip(times + HALF_MILLISECOND + start, start, np.nextafter(end, start) - 1e-6)
        try:
            frames: torch.Tensor = self._decoder.get_frames_played_at(seconds=seconds.tolist()).data
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._not_decoded(first_line(error)) from None
        return frames

    def _open(self, mode: str) -> Any:
        from torchcodec.decoders import VideoDecoder  # an optional library

        try:
            return VideoDecoder(str(self.path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=mode)
        except (RuntimeError, ValueError) as error:
            raise self._not_opened(first_line(error)) from None
