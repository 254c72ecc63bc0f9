"""Open a video and take the frames shown at given times, whichever library decodes.

Times are seconds after the start of the video stream. The frame at `t` is the one on show then: the last whose
timestamp is at most `t` plus half a millisecond, which absorbs the rounding of containers that count milliseconds.
Frame numbers play no part, because the organisers' numbers are not those of the files (59.94 fps files are numbered
at 60 a second, 29.97, 47.95 and 90 fps files too).

Shape legend: T times, H height, W width, 3 red-green-blue.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from epicsub.errors import DataError

DECODERS = ("pyav", "torchcodec", "decord")  # the fastest first: see benchmarks/loading.py
HALF_MILLISECOND = 0.0005


class FrameReader(Protocol):
    """What reads one video. `duration` in seconds and `fps` are what the file states, `width` and `height` pixels."""

    duration: float
    fps: float
    width: int
    height: int

    def frames_at(self, times: np.ndarray) -> torch.Tensor:
        """Frames on show at `times` (T,) float64 seconds, in any order, as uint8 (T, H, W, channels).

        A time up to two frame durations past the last frame gives the last frame.

        Raises:
            DataError: the video is damaged, or ends before one of the times.
        """

    def close(self) -> None:
        """Let go of the file."""


def open_reader(path: Path, decoder: str = "auto", gray: bool = False) -> FrameReader:
    """Open a video file.

    Args:
        path: the file.
        decoder: one of `DECODERS`, or "auto" for the fastest.
        gray: give the luma plane as stored, (T, H, W), without range conversion. Always through PyAV: the others
            have no way to the stored plane.

    Raises:
        DataError: the decoder does not load here; the file is missing, empty, or no video.
    """
    name = choose_decoder(decoder)
    path = Path(path)
    _check_file(path)
    if name == "pyav" or gray:
        from epicsub.data.decode.pyav import PyavReader

        return PyavReader(path, gray)
    if name == "torchcodec":
        from epicsub.data.decode.torchcodec import TorchcodecReader

        return TorchcodecReader(path)
    from epicsub.data.decode.decord import DecordReader

    return DecordReader(path)


def choose_decoder(name: str) -> str:
    """The decoder that `name` stands for: itself, or for "auto" the fastest.

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
    """None where `decoder` loads on this machine, else the reason in one line."""
    module = {"torchcodec": "torchcodec.decoders", "pyav": "av", "decord": "decord"}[decoder]
    try:
        loaded = importlib.import_module(module)
        if decoder == "torchcodec":
            loaded.VideoDecoder(b"not a video")  # its library is loaded on first use: this fails one way or the other
    except ImportError as error:
        return f"import {module}: {_first_line(error)}"
    except (RuntimeError, OSError) as error:  # torchcodec without the system's FFmpeg, decord on another libc
        if decoder == "torchcodec" and "could not load" in str(error).lower():
            return "libtorchcodec cannot be loaded: most likely the system lacks FFmpeg's libraries"
        return None if decoder == "torchcodec" else _first_line(error)
    except ValueError:
        return None  # torchcodec loads, and refuses what is not a video
    return None


def turned(degrees: float) -> str:
    """The complaint about a video with a rotation flag, which some decoders follow and some do not."""
    return (
        f"carries a flag that turns its pictures by {degrees:g} degrees, which decoders treat differently: write them "
        "turned for good, with ffmpeg -i IN OUT"
    )


def _check_file(path: Path) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror})") from None
    if not path.is_file():
        raise DataError(f"{path}: is not a file")
    if size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
