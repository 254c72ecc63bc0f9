"""Open a video with any of the decoders: PyAV (`pyav`), and the optional torchcodec and decord."""

import importlib
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicsub.data.decode.base import HALF_MILLISECOND, FrameReader, TimedReader, VideoFile, first_line
from epicsub.data.decode.compare import disagreement, reference, sampled_times
from epicsub.data.decode.facts import OpenVideo, facts_of
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.loader import keep_memory
from epicsub.errors import DataError
from epicsub.files import check_readable

VERIFIED_AT = 6  # times in each file
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
    state = path.stat()
    if difference := _difference(path, name, state.st_size, state.st_mtime_ns):
        raise DataError(f"{path}: decoder {name} does not show what the file's timestamps say ({difference}): use auto")
    return open_unverified(path, name)


def open_unverified(path: Path, decoder: str) -> TimedReader:
    """Open a video file without a look at what the decoder makes of it; `data check --compare` does.

    Args:
        path: the file, not empty.
        decoder: one of `DECODERS`.

    Returns:
        An open reader.

    Raises:
        DataError: the file is no video, or the decoder cannot read it.
    """
    if decoder == "pyav":
        return PyavReader(path)
    return TorchcodecReader(path) if decoder == "torchcodec" else DecordReader(path)


@lru_cache(maxsize=4096)
def _difference(path: Path, decoder: str, size: int, changed: int) -> str:
    """How a decoder differs from the file's timestamps, found once per file and process; empty if it does not."""
    del size, changed  # part of the key
    ours = PyavReader(path)
    known, lie = reference(ours, sampled_times(ours, VERIFIED_AT)), ours.keyframes_lie
    ours.close()
    if lie:
        return "its keyframes do not decode on their own, which this decoder does not notice"
    theirs = open_unverified(path, decoder)
    try:
        return disagreement(theirs, known, (ours.width, ours.height))
    finally:
        theirs.close()


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


class _OtherReader(VideoFile):
    """What torchcodec's and decord's readers share: the facts that PyAV finds, so that seconds count from one start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._facts = facts_of(path)
        video = OpenVideo(path)
        self.fps, self._codec = float(video.rate or 0), video.codec
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
        # decord holds some 17 MB a file; kept in the heap, they break it up (measured: 400 MB more after 4,000 clips)
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
