"""Open a video with any of the decoders."""

import importlib
from functools import cache
from pathlib import Path

from epicsub.data.decode.base import FrameReader, first_line
from epicsub.data.decode.decord import DecordReader
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.torchcodec import TorchcodecReader
from epicsub.errors import DataError

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
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror})") from None
    if not path.is_file():
        raise DataError(f"{path}: is not a file")
    if size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")
