"""The optional decoders torchcodec and decord, on the facts that PyAV finds of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicsub.data.decode import HALF_MILLISECOND, VideoFile
from epicsub.data.decode.facts import facts_of
from epicsub.data.decode.opened import OpenVideo
from epicsub.data.loader import keep_memory
from epicsub.errors import DataError


class _OtherReader(VideoFile):
    """What torchcodec's and decord's readers share: the facts that PyAV finds, so that seconds count from one start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = facts_of(path)
        video = OpenVideo(path)
        self.fps, self._codec = float(video.rate), video.codec
        self.duration = self._facts.stated
        self._start = float(self._facts.start * video.tick)  # seconds
        self._end = float((self._facts.end - self._facts.start) * video.tick)
        video.close()

    def _not_by(self, decoder: str) -> DataError:
        """PyAV has opened it already, so that it is the decoder that cannot."""
        return self._error(
            f"decoder {decoder} cannot read it, PyAV can: {decoder} lacks the codec ({self._codec}) or cannot do "
            "without something that the container lacks; use decoder auto or pyav"
        )

    def _check_end(self, times: np.ndarray) -> None:
        late = times[times + HALF_MILLISECOND >= self._end + 1 / self.fps]
        if len(late):
            raise self._ends_before(late.max(), self._end - 1 / self.fps)


class TorchcodecReader(_OtherReader):
    """One open video file read through torchcodec, where the system has FFmpeg's libraries; see `FrameReader`.

    torchcodec's exact mode reads the whole file on opening to learn every timestamp. Its approximate mode opens at once
    and finds frames by the mean frame rate. It is opened in approximate mode; if a timestamp that comes back is not
    that of the frame on show, the file is opened again in exact mode, once.
    """

    def __init__(self, path: Path) -> None:
        """Open a video file.

        Args:
            path: the file.

        Raises:
            DataError: FFmpeg cannot open it, or it holds no video.
        """
        super().__init__(path)
        self._exact = False
        self._decoder = self._open("approximate")
        metadata = self._decoder.metadata
        if metadata.duration_seconds_from_header is None or not metadata.average_fps or not metadata.num_frames:
            self._decoder, self._exact = self._open("exact"), True
        self.width, self.height = int(metadata.width or 0), int(metadata.height or 0)

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """See `FrameReader.frames_at`.

        Args:
            times: (T,).

        Returns:
            (T, H, W, 3).
        """
        frames: torch.Tensor = self._batch(np.asarray(times, dtype=np.float64)).data
        return frames

    def shown_at(self, time: float) -> float:
        """See `TimedReader.shown_at`.

        Args:
            time: seconds.

        Returns:
            Seconds.
        """
        return float(self._batch(np.array([time])).pts_seconds[0]) - self._start

    def close(self) -> None:
        """Close the file."""
        del self._decoder

    def _batch(self, times: np.ndarray) -> Any:
        """Torchcodec's FrameBatch of the frames on show."""
        self._check_end(times)
        if not self._exact:
            batch = self._approximate(times)
            if batch is not None:
                return batch
            self._decoder, self._exact = self._open("exact"), True
        return self._exactly(times)

    def _approximate(self, times: np.ndarray) -> Any:
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
        return batch if right.all() else None

    def _exactly(self, times: np.ndarray) -> Any:
        metadata = self._decoder.metadata
        start, end = float(metadata.begin_stream_seconds), float(metadata.end_stream_seconds)
        seconds = np.clip(times + HALF_MILLISECOND + self._start, start, np.nextafter(end, start) - 1e-6)
        try:
            return self._decoder.get_frames_played_at(seconds=seconds.tolist())
        except (RuntimeError, ValueError, IndexError):
            raise self._not_decoded("torchcodec gives up") from None

    def _open(self, mode: str) -> Any:
        from torchcodec.decoders import VideoDecoder  # an optional library

        stream = self._facts.stream
        try:
            return VideoDecoder(
                str(self.path), stream_index=stream, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=mode
            )
        except (RuntimeError, ValueError):
            raise self._not_by("torchcodec") from None


class DecordReader(_OtherReader):
    """One open video file read through decord; see `FrameReader`.

    decord reads the whole file on opening to learn every timestamp.
    """

    def __init__(self, path: Path) -> None:
        """Open a video file; arguments and errors as of `PyavReader`."""
        import decord  # an optional library

        super().__init__(path)
        # decord holds some 17 MB per file; kept in the heap, they break it up (measured: 400 MB more after 4,000 clips)
        keep_memory(128 << 10, 128 << 10)
        self._failures = (decord.DECORDError, RuntimeError)
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
            spans = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), dtype=np.float64)
            self.height, self.width = (int(side) for side in self._reader[0].shape[:2])
        except self._failures:
            raise self._not_by("decord") from None
        # From the first frame that decord knows. float32 inside decord: half a millisecond holds up to 2 hours
        self._shown = spans[:, 0] - spans[0, 0]

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times`; see `FrameReader.frames_at`.

        Args:
            times: (T,) seconds, in any order.

        Returns:
            (T, H, W, C) uint8, C = 3.

        Raises:
            DataError: the video ends before a time, or a frame cannot be decoded.
        """
        times = np.asarray(times, dtype=np.float64)
        self._check_end(times)
        try:
            return torch.from_numpy(self._reader.get_batch(self._places(times).tolist()).asnumpy())
        except self._failures:
            raise self._not_decoded("decord gives up") from None

    def shown_at(self, time: float) -> float:
        """See `TimedReader.shown_at`.

        Args:
            time: seconds.

        Returns:
            Seconds.
        """
        return float(self._shown[self._places(np.array([time]))[0]])

    def close(self) -> None:
        """Close the file."""
        del self._reader

    def _places(self, times: np.ndarray) -> np.ndarray:
        return np.maximum(0, np.searchsorted(self._shown, times + HALF_MILLISECOND, side="right") - 1)
