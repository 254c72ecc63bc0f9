"""At which seconds of a segment the frames of a clip are taken, and which views of it evaluation averages.

Plain functions of numbers; randomness is passed in.
"""

import re
from dataclasses import dataclass

import numpy as np

from epicsub.errors import DataError

GRAMMAR = (
    "expected CLIPSxCROPS with 1 or 3 crops and any number of clips from 1, then +flip or not, then @ and factors of "
    "the stride or not, from 0.1 to 10 and each once: 1x1, 5x3, 10x3+flip, 5x3+flip@0.8,1,1.25"
)
FORM = re.compile(r"([1-9]\d{0,2})x([13])(\+flip)?(@\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)*)?")
FACTORS = (0.1, 10.0)


def _dense_times(start: float, stop: float, frames: int, stride: float, position: float) -> np.ndarray:
    """A window of `frames` * `stride` seconds at `position` (0 to 1) of a segment, a frame in the middle of each part.

    A segment shorter than the window gives `frames` times spread evenly over it: the clip then repeats frames, evenly.
    """
    _check(start, stop, frames, position)
    if not stride > 0:
        raise ValueError(f"stride {stride}: seconds above 0")
    window = min(frames * stride, stop - start)
    first = start + position * (stop - start - window)
    times: np.ndarray = np.clip(first + (np.arange(frames) + 0.5) * (window / frames), start, stop)
    return times


def _uniform_times(start: float, stop: float, frames: int, offsets: np.ndarray | float) -> np.ndarray:
    """One time from each of `frames` equal parts of a segment, at `offsets` (0 to 1) of the part."""
    _check(start, stop, frames, offsets)
    times: np.ndarray = np.clip(start + (np.arange(frames) + offsets) * ((stop - start) / frames), start, stop)
    return times


def clip_times(
    start: float, stop: float, frames: int, sampling: str, stride: float | None, place: np.ndarray | float
) -> np.ndarray:
    """Choose the times of a clip.

    Args:
        start: of the segment in seconds.
        stop: of the segment in seconds, after `start`.
        frames: frames in a clip.
        sampling: "dense": frames from the middle of equal parts of a window of `frames` * `stride` seconds, or of a
            segment shorter than that; "uniform": one frame from each equal part of the segment.
        stride: seconds between frames, dense only.
        place: position of the window (dense), or offsets in the parts, (frames,) or one for all (uniform); 0 to 1.

    Returns:
        (frames,) float64 seconds, rising, inside the segment.

    Raises:
        ValueError: an argument is out of range, `sampling` is unknown, or `stride` is missing or has no effect.
    """
    if sampling == "dense" and stride is not None:
        return _dense_times(start, stop, frames, stride, float(place))
    if sampling == "uniform" and stride is None:
        return _uniform_times(start, stop, frames, place)
    raise ValueError(f"sampling {sampling!r} with stride {stride}: dense with a stride, or uniform without")


def with_context(start: float, stop: float, seconds: float, context: float, end: float) -> tuple[float, float]:
    """Widen a segment shorter than a clip by the video around it.

    Args:
        start: of the segment in seconds.
        stop: of the segment in seconds.
        seconds: what a clip covers; longer segments stay as they are.
        context: most seconds to add on each side.
        end: of the video in seconds.

    Returns:
        Start and stop: as much on both sides, but where the video begins or ends more on the other one.
    """
    lack = max(0.0, seconds - (stop - start))
    most_before, most_after = max(0.0, min(context, start)), max(0.0, min(context, end - stop))
    before = min(lack / 2, most_before)
    after = min(lack - before, most_after)
    return start - min(lack - after, most_before), stop + after


def _view_positions(count: int) -> np.ndarray:
    """Positions of clips for evaluation, (count,), evenly inside (0, 1): MM-SADA's test centres; one is the middle."""
    return np.linspace(0, 1, count + 2)[1:-1]


@dataclass(frozen=True, slots=True)
class Views:
    """Views of a segment that evaluation averages: clips x crops, mirrored or not, at factors of the stride."""

    clips: int = 1
    """Clips in time."""
    crops: int = 1
    """Crops along the longer side, 1 or 3."""
    flip: bool = False
    """Add the mirror image of each crop."""
    strides: tuple[float, ...] = (1.0,)
    """Factors of the recipe's seconds between two frames; above 1 a clip covers more time."""

    def __post_init__(self) -> None:
        fits = all(FACTORS[0] <= factor <= FACTORS[1] for factor in self.strides)
        if not self.strides or len(set(self.strides)) < len(self.strides) or not fits or not FORM.fullmatch(str(self)):
            raise DataError(f"views {self}: {GRAMMAR}")

    def __str__(self) -> str:
        factors = "" if self.strides == (1.0,) else "@" + ",".join(f"{factor:.12g}" for factor in self.strides)
        return f"{self.clips}x{self.crops}{'+flip' if self.flip else ''}{factors}"

    @property
    def count(self) -> int:
        """Views of a segment."""
        return len(self.strides) * self.clips * self.each

    @property
    def each(self) -> int:
        """Views of a clip: crops and their mirror images."""
        return self.crops * (2 if self.flip else 1)

    def places(self) -> list[tuple[float, float]]:
        """List the clips of a segment.

        Returns:
            Stride factor and position of each clip; a position is 0 at the segment's start and 1 at its end.
        """
        positions = _view_positions(self.clips).tolist()
        return [(factor, position) for factor in self.strides for position in positions]


def parse_views(text: str) -> Views:
    """Read a specification of views.

    Args:
        text: like 5x3+flip or 5x3+flip@0.8,1,1.25.

    Returns:
        The views.

    Raises:
        DataError: the text is not of that form.
    """
    match = FORM.fullmatch(text)
    if match is None:
        raise DataError(f"views {text!r}: {GRAMMAR}")
    factors = tuple(float(word) for word in match[4][1:].split(",")) if match[4] else (1.0,)
    return Views(clips=int(match[1]), crops=int(match[2]), flip=match[3] is not None, strides=factors)


def _check(start: float, stop: float, frames: int, place: np.ndarray | float) -> None:
    if not start < stop or frames < 1:
        raise ValueError(f"a clip of {frames} frames from {start} to {stop} s")
    places = np.asarray(place)
    if not ((places >= 0) & (places <= 1)).all():
        raise ValueError(f"position or offsets {place}: 0 to 1")
