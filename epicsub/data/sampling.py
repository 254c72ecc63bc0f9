"""At which seconds of a segment the frames of a clip are taken. Plain functions of numbers; randomness is passed in."""

import numpy as np


def dense_times(start: float, stop: float, frames: int, stride: float, position: float) -> np.ndarray:
    """A window of `frames` * `stride` seconds, in whose equal parts each frame lies in the middle.

    Args:
        start, stop: the segment in seconds, start < stop.
        frames: frames in a clip.
        stride: seconds between frames.
        position: where in the segment the window lies, 0 at its start to 1 at its end.

    Returns:
        (frames,) float64 seconds, rising, inside the segment. A segment shorter than the window gives `frames` times
        spread evenly over it: the clip then repeats frames, evenly.
    """
    _check(start, stop, frames, position)
    if not stride > 0:
        raise ValueError(f"stride {stride}: seconds above 0")
    window = min(frames * stride, stop - start)
    first = start + position * (stop - start - window)
    return np.clip(first + (np.arange(frames) + 0.5) * (window / frames), start, stop)


def uniform_times(start: float, stop: float, frames: int, offsets: np.ndarray | float) -> np.ndarray:
    """One time from each of `frames` equal parts of the segment.

    Args:
        start, stop: the segment in seconds, start < stop.
        frames: frames in a clip.
        offsets: where in its part each frame lies, 0 to 1: (frames,), or one number for all.

    Returns:
        (frames,) float64 seconds, rising, inside the segment.
    """
    _check(start, stop, frames, offsets)
    return np.clip(start + (np.arange(frames) + offsets) * ((stop - start) / frames), start, stop)


def view_positions(count: int) -> np.ndarray:
    """Positions of `count` clips of one segment for evaluation: (count,), evenly inside (0, 1).

    As MM-SADA's test centres, `linspace(start, end, count + 2)[1:-1]`: one view is the middle.
    """
    return np.linspace(0, 1, count + 2)[1:-1]


def clip_times(
    start: float,
    stop: float,
    frames: int,
    sampling: str,
    stride: float | None,
    place: np.ndarray | float,
) -> np.ndarray:
    """`dense_times` or `uniform_times` by name. `place` is the window's position, or the offsets.

    Raises:
        ValueError: an unknown `sampling`, or a stride missing or given where it has no effect.
    """
    if sampling == "dense" and stride is not None:
        return dense_times(start, stop, frames, stride, float(place))
    if sampling == "uniform" and stride is None:
        return uniform_times(start, stop, frames, place)
    raise ValueError(f"sampling {sampling!r} with stride {stride}: dense with a stride, or uniform without")


def with_context(start: float, stop: float, seconds: float, context: float, end: float) -> tuple[float, float]:
    """A segment shorter than a clip, with the video around it that the clip has room for.

    Args:
        start, stop: the segment in seconds.
        seconds: what a clip covers; longer segments stay as they are.
        context: most seconds to add on each side.
        end: of the video.

    Returns:
        Start and stop: as much on both sides, but where the video begins or ends more on the other one.
    """
    lack = max(0.0, seconds - (stop - start))
    most_before, most_after = max(0.0, min(context, start)), max(0.0, min(context, end - stop))
    before = min(lack / 2, most_before)
    after = min(lack - before, most_after)
    return start - min(lack - after, most_before), stop + after


def _check(start: float, stop: float, frames: int, place: np.ndarray | float) -> None:
    if not start < stop or frames < 1:
        raise ValueError(f"a clip of {frames} frames from {start} to {stop} s")
    places = np.asarray(place)
    if not ((places >= 0) & (places <= 1)).all():
        raise ValueError(f"position or offsets {place}: 0 to 1")
