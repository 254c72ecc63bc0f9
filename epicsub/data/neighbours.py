"""Segments around a segment: what a model of context sees, windows that cross no video and no list.

All lists give the times of their segments, the test list too, so neighbours are known where a model predicts; their
labels are read of the source alone.

Letters: N segments, W places of a window.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from epicsub.data.annotations import Segment

SPAN = 30.0  # seconds that become 1: nine segments of a kitchen are about as long together


@dataclass(frozen=True)
class Windows:
    """For each of N segments, itself in the middle and its neighbours by start, stop and narration id."""

    index_NW: Tensor  # noqa: N815
    """Place in the list of the segment at each place; the segment itself where there is none."""
    present_NW: Tensor  # noqa: N815
    """Bool: False before the first and after the last segment of a video."""
    seconds_NW2: Tensor  # noqa: N815
    """Start and stop from the middle segment's start, over `SPAN`; 0 where there is none. float32."""


def windows(segments: Sequence[Segment], width: int) -> Windows:
    """Find the neighbours of each segment among a list's segments of its video.

    Args:
        segments: of one list, in any order.
        width: W, odd.

    Returns:
        Windows in the order of `segments`.

    Raises:
        ValueError: W is even.
    """
    if width % 2 == 0:
        raise ValueError(f"a window of {width} places has none in the middle")
    count = len(segments)
    order = sorted(range(count), key=lambda n: (segments[n].video_id, *_key(segments[n])))
    order_N = np.array(order, dtype=np.int64)
    videos = np.array([segments[n].video_id for n in order])
    place_NW = np.arange(count)[:, None] + np.arange(width) - width // 2
    inside_NW = (place_NW >= 0) & (place_NW < count)
    place_NW = np.where(inside_NW, place_NW, np.arange(count)[:, None])
    present_NW = inside_NW & (videos[place_NW] == videos[:, None])
    index_NW = np.where(present_NW, order_N[place_NW], order_N[:, None])
    times_N2 = np.array([(segment.start, segment.stop) for segment in segments]).reshape(count, 2)
    seconds_NW2 = (times_N2[index_NW] - times_N2[order_N, :1][:, :, None]) / SPAN * present_NW[:, :, None]
    back_N = np.argsort(order_N)
    return Windows(
        torch.from_numpy(index_NW[back_N]),
        torch.from_numpy(present_NW[back_N]),
        torch.from_numpy(seconds_NW2[back_N].astype(np.float32)),
    )


def joined(parts: Sequence[Windows]) -> Windows:
    """Windows of several lists, each within its own, as of one list after the other.

    Args:
        parts: of each list.

    Returns:
        Windows of all.
    """
    begins = np.cumsum([0, *(len(part.index_NW) for part in parts)])
    return Windows(
        torch.cat([part.index_NW + int(begin) for part, begin in zip(parts, begins, strict=False)]),
        torch.cat([part.present_NW for part in parts]),
        torch.cat([part.seconds_NW2 for part in parts]),
    )


def _key(segment: Segment) -> tuple[float, float, str]:
    return segment.start, segment.stop, segment.narration_id
