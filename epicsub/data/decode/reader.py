"""Open a video with any of the decoders: PyAV (`pyav`), and the optional torchcodec and decord."""

import importlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicsub.data.decode.base import HALF_MILLISECOND, FrameReader, VideoFile, first_line
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.loader import keep_memory
from epicsub.errors import DataError
from epicsub.files import check_readable

DECODERS = ("pyav", "torchcodec", "decord")  # the fastest first: see benchmarks/loading.py


def open_reader(path: Path, decoder: str = "auto", gray: bool = False) -> FrameReader:
    """Open a video file.

    Args:
        path: the file.
        decoder: one of `DECODERS`, or "auto" for the fastest.
        gray: give the luma plane as stored, (T, H, W), without range conversion. Always through PyAV: the others
            have no way to the stored plane.

    Returns:
        An open reader.

    Raises:
        DataError: the decoder does not load here; the file is missing, empty, or no video.
    """
    name = choose_decoder(decoder)
    path = Path(path)
    _check_file(path)
    if name == "pyav" or gray:
        return PyavReader(path, gray)
    return TorchcodecReader(path) if name == "torchcodec" else DecordReader(path)


def choose_decoder(name: str) -> str:
    """Resolve the name of a decoder.

    Args:
        name: one of `DECODERS`, or "auto" for the fastest.

    Returns:
        One of `DECODERS`.

    Raises:
        DataError: there is no such decoder, or it does not load here; the message says why and what else there is.
    """
    if name == "auto":
        return DECODERS[0]  # always there, so that all machines see the same pixels
    if name not in DECODERS:
        raise DataError(f"decoder {name!r}: unknown; there are auto, {', '.join(DECODERS)}")
    if reason := why_not(name):
        others = ", ".join(decoder for decoder in DECODERS if decoder != name and why_not(decoder) is None)
        raise DataError(f"decoder {name}: does not load here ({reason}); use one that does: auto, {others}")
    return name


@cache
def why_not(decoder: str) -> str | None:
    """Try to load a decoder.

    Args:
        decoder: one of `DECODERS`.

    Returns:
        None if it loads on this machine, else the reason in one line.
    """
    module = {"torchcodec": "torchcodec.decoders", "pyav": "av", "decord": "decord"}[decoder]
    try:
        loaded = importlib.import_module(module)
        if decoder == "torchcodec":
            loaded.VideoDecoder(b"not a video")  # its library is loaded on first use: this fails one way or the other
    except ImportError as error:
        return f"import {module}: {first_line(error)}"
    except (RuntimeError, OSError) as error:  # torchcodec without the system's FFmpeg, decord on another libc
        if decoder == "torchcodec" and "could not load" in str(error).lower():
            return "libtorchcodec cannot be loaded: most likely the system lacks FFmpeg's libraries"
        return None if decoder == "torchcodec" else first_line(error)
    except ValueError:
        return None  # torchcodec loads, and refuses what is not a video
    return None


def _check_file(path: Path) -> None:
    check_readable(path)
    if not path.is_file():
        raise DataError(f"{path}: is not a file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")


class TorchcodecReader(VideoFile):
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
        """See `FrameReader.frames_at`.

        Args:
            times: (T,).

        Returns:
            (T, H, W, 3).
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


class DecordReader(VideoFile):
    """One open video file read through decord; see `FrameReader`.

    decord reads the whole file on opening to learn every timestamp.
    """

    def __init__(self, path: Path) -> None:
        """Open a video file; arguments and errors as of `PyavReader`."""
        import decord  # an optional library

        # decord holds some 17 MB per file; kept in the heap, they break it up (measured: 400 MB more after 4,000 clips)
        keep_memory(128 << 10, 128 << 10)
        PyavReader(path).frames_at(np.zeros(1))  # decord follows a rotation flag without saying so; PyAV refuses it
        self.path = path
        self._failures = (decord.DECORDError, RuntimeError)
        try:
            self._reader = decord.VideoReader(str(path), num_threads=1)
            spans = np.asarray(self._reader.get_frame_timestamp(range(len(self._reader))), dtype=np.float64)
            self.height, self.width = (int(side) for side in self._reader[0].shape[:2])
        except self._failures as error:
            raise self._not_opened(first_line(error)) from None
        self.fps = float(self._reader.get_avg_fps())
        self._shown = spans[:, 0] - spans[0, 0]  # float32 inside decord: half a millisecond holds up to 2 hours
        self.duration = float(spans[-1, 1] - spans[0, 0])

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
        last = self._shown[-1]
        late = times[times + HALF_MILLISECOND >= last + 2 / self.fps]
        if len(late):
            raise self._ends_before(late.max(), last)
        indices = np.searchsorted(self._shown, times + HALF_MILLISECOND, side="right") - 1
        try:
            return torch.from_numpy(self._reader.get_batch(indices.tolist()).asnumpy())
        except self._failures as error:
            raise self._not_decoded(first_line(error)) from None

    def close(self) -> None:
        """Close the file."""
        del self._reader
