"""Open a video with any of the decoders: PyAV (`pyav`), and the optional torchcodec and decord."""

import importlib
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from epicsub.data.decode import FrameReader, TimedReader
from epicsub.data.decode.compare import disagreement, read_through, reference, sampled_times, times_at_pauses
from epicsub.data.decode.others import DecordReader, TorchcodecReader
from epicsub.data.decode.pyav import PyavReader
from epicsub.errors import DataError
from epicsub.io.files import check_readable

VERIFIED_AT, COMPARED_AT = 6, 16  # times in each file
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
        raise DataError(
            f"{path}: decoder {name} does not show what the file's timestamps say ({difference}): use decoder auto"
        )
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


def compare_decoders(path: Path) -> dict[str, str]:
    """Compare every decoder that loads with the file itself, read once from its beginning.

    Args:
        path: of a video.

    Returns:
        By decoder: how its pictures or times differ at sampled seconds, or why it cannot read the file; empty text
        where they agree.

    Raises:
        DataError: the file is damaged.
    """
    ours = PyavReader(path)
    known = read_through(ours, sampled_times(ours, COMPARED_AT))
    found = {}
    for name in DECODERS:
        if why_not(name) is None:
            try:
                reader = open_unverified(path, name)
            except DataError as error:
                found[name] = str(error).removeprefix(f"{path}: ")
                continue
            found[name] = disagreement(reader, known, (ours.width, ours.height))
            if not found[name] and name != "pyav":
                found[name] = _difference(path, name, path.stat().st_size, path.stat().st_mtime_ns)
            reader.close()
    ours.close()
    return found


@lru_cache(maxsize=4096)
def _difference(path: Path, decoder: str, size: int, changed: int) -> str:
    """How a decoder differs from the file's timestamps, found once per file and process; empty if it does not."""
    del size, changed  # part of the key
    ours = PyavReader(path)
    times = np.union1d(sampled_times(ours, VERIFIED_AT), times_at_pauses(path))
    known, lie = reference(ours, times), ours.keyframes_lie
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
    except ModuleNotFoundError:
        return f"import {module}: it is not installed"
    except ImportError:
        return f"import {module}: a library that it needs is not here, or of another version"
    except (RuntimeError, OSError) as error:  # torchcodec without the system's FFmpeg, decord on another libc
        if decoder == "torchcodec" and "could not load" in str(error).lower():
            return "libtorchcodec cannot be loaded: most likely the system lacks FFmpeg's libraries"
        return None if decoder == "torchcodec" else f"import {module}: its library does not load on this system"
    except ValueError:
        return None  # torchcodec loads, and refuses what is not a video
    return None


def _check_file(path: Path) -> None:
    check_readable(path)
    if not path.is_file():
        raise DataError(f"{path}: is not a file; name a video")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (0 bytes); fetch it again")
