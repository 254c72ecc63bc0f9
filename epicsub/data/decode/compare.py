"""Whether a decoder shows what a file's own timestamps say.

Decoders differ over edit lists, missing beginnings, several streams and flags that turn pictures: silently, by seconds.
PyAV's pictures and the timestamps that came with them are the measure.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
import torch

from epicsub.data.decode import HALF_MILLISECOND, TimedReader, last_time
from epicsub.data.decode.facts import facts_of
from epicsub.data.decode.opened import OpenVideo, reason_of, stamp_of
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.sequence import GAP_FRAMES
from epicsub.errors import DataError

SMALL = (32, 24)  # width and height at which pictures are compared
MEAN, MOST = 4.0, 24.0  # gray levels that two roundings of one picture may differ by, on average and in any small pixel
LATE = 0.002  # seconds that two readings of one timestamp may differ by: decord keeps float32
MOST_PAUSES = 32  # each is compared on its own


class Reference(NamedTuple):
    """What is shown at some times: timestamps in seconds after the start, and small gray pictures."""

    times: np.ndarray
    shown: np.ndarray
    pictures: list[np.ndarray]


def sampled_times(reader: PyavReader, count: int) -> np.ndarray:
    """Choose times at which decoders are compared.

    Args:
        reader: of the file.
        count: of times, with the first and the last frame's.

    Returns:
        (count,) seconds in the middle of frames of even length, spread over what can be read, rising.
    """
    first, last = reader.readable_from, last_time(reader.readable_to, reader.fps)
    places = np.linspace(first, max(first, last), count)
    return np.minimum((np.floor(places * reader.fps + 1e-6) + 0.5) / reader.fps, max(first, last))


def times_at_pauses(path: Path) -> np.ndarray:
    """Choose times around each pause: there decoders that sort pictures by time go their own ways.

    Args:
        path: of the video; read to its end, unless the container has an index of all pictures.

    Returns:
        (T,) seconds, rising; none of an even video.

    Raises:
        DataError: it has more pauses than can be compared, or cannot be opened.
    """
    facts, video = facts_of(path), OpenVideo(path)
    try:
        stamps = [entry.timestamp + facts.delay for entry in video.stream.index_entries]
        if not video.container.format.name.startswith("mov") or len(stamps) != video.stream.frames:
            packets = video.container.demux(video.stream)
            stamps = [stamp for packet in packets if packet.size and (stamp := stamp_of(packet)) is not None]
    except av.error.FFmpegError as error:
        raise video._not_decoded(reason_of(error)) from None
    finally:
        video.close()
    ends = [after for before, after in pairwise(sorted(stamps)) if after - before > GAP_FRAMES * video.frame]
    if len(ends) > MOST_PAUSES:
        raise video._error(f"has {len(ends)} pauses between its pictures: use decoder auto, which alone reads it")
    frames = np.array([end - facts.start for end in ends])[:, None] / video.frame + np.arange(-8, 8) + 0.5
    seconds = np.unique(frames) * float(video.frame * video.tick)
    until = float((facts.end - facts.start) * video.tick) - 0.5 / float(video.rate)
    return seconds[(seconds >= 0) & (seconds <= until)]


def reference(reader: PyavReader, times: np.ndarray) -> Reference:
    """Read what other decoders must show.

    Args:
        reader: of the file.
        times: (T,) seconds.

    Returns:
        Timestamps and pictures.

    Raises:
        DataError: the file is damaged.
    """
    pictures = [small(reader.frames_at(np.array([time]))[0]) for time in times]
    return Reference(times, np.array([reader.shown_at(time) for time in times]), pictures)


def read_through(reader: PyavReader, times: np.ndarray) -> Reference:
    """Read what all decoders must show without a seek, PyAV's own random reading too.

    Args:
        reader: of the file.
        times: (T,) seconds, rising.

    Returns:
        Timestamps and pictures.

    Raises:
        DataError: the file is damaged.
    """
    shown: list[float] = []
    pictures: list[np.ndarray] = []
    for pts, following, frame in reader.frames_between(reader.readable_from, last_time(reader.readable_to, reader.fps)):
        begin, end = (float((ticks - reader.start) * reader.tick) for ticks in (pts, following))
        picture: np.ndarray | None = None
        while len(shown) < len(times) and times[len(shown)] + HALF_MILLISECOND < end:
            picture = small(torch.from_numpy(frame.to_ndarray(format="rgb24"))) if picture is None else picture
            shown.append(begin)
            pictures.append(picture)
    return Reference(times[: len(shown)], np.array(shown), pictures)


def small(frame_HWC: torch.Tensor) -> np.ndarray:
    """Make a picture small and gray.

    Args:
        frame_HWC: uint8.

    Returns:
        (24, 32) float32.
    """
    gray = cv2.resize(frame_HWC.numpy(), SMALL, interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(gray.mean(-1) if gray.ndim == 3 else gray)


def disagreement(reader: TimedReader, known: Reference, size: tuple[int, int]) -> str:
    """Compare a decoder with the file, jumping back and forth.

    Args:
        reader: the decoder's.
        known: what must be shown.
        size: width and height of the pictures.

    Returns:
        How they differ first; empty if they agree.
    """
    if (reader.width, reader.height) != size:
        return f"its pictures are {reader.width}x{reader.height}, the video's {size[0]}x{size[1]}"
    order = [*range(1, len(known.times), 2), *range(0, len(known.times), 2)]
    try:
        for place in order:
            time, shown = float(known.times[place]), float(known.shown[place])
            picture, theirs = reader.frames_at(np.array([time]))[0], reader.shown_at(time)
            if abs(theirs - shown) > LATE:
                return f"at {time:.3f} s it shows the frame of {theirs:.3f} s, not that of {shown:.3f} s"
            apart = np.abs(small(picture) - known.pictures[place])
            if apart.mean() > MEAN or apart.max() > MOST:
                return f"at {time:.3f} s it shows another picture than the one with that timestamp"
    except DataError as error:
        return str(error)
    return ""
