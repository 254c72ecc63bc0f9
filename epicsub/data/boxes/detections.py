"""Hands and objects of a whole video, as a detector found them, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from epicsub.errors import DataError

LEFT, RIGHT = 0, 1
PORTABLE, STATIONARY = 3, 4
"""Contact states of a hand that holds something; the others are in `slots.STATES`."""
UNKNOWN_STATE = 255
"""Of a detector that tells no contact."""
LEAST_OBJECT_SCORE = 0.05
"""Objects below are dropped: the official files hold them down to .01, most of them wrong."""
FULL = 65535  # stored levels of a share from 0 to 1
OFFSET_FULL = 32767  # of an offset from -1 to 1

Corners = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the picture's sides."""


class Hand(NamedTuple):
    """A hand; its offset leads from its centre to that of the object that it touches, in shares of the sides."""

    corners: Corners
    score: float
    state: int
    offset: tuple[float, float]
    side: int


class Thing(NamedTuple):
    """An object of no class."""

    corners: Corners
    score: float


class FrameDetections(NamedTuple):
    """What was found in one frame."""

    hands: Sequence[Hand]
    objects: Sequence[Thing]


@dataclass(frozen=True)
class Arrays:
    """Detections of a video as they are stored; frame n (from 1) has rows `starts[n - 1]` to `starts[n]`.

    Shape legend: N hands, M objects, F frames.
    """

    hands: np.ndarray
    """(N, 5) uint16: left, top, right, bottom, score, 0 to 65535 for 0 to 1."""
    offsets: np.ndarray
    """(N, 2) int16: -32767 to 32767 for -1 to 1."""
    states: np.ndarray
    """(N,) uint8."""
    sides: np.ndarray
    """(N,) uint8."""
    objects: np.ndarray
    """(M, 5) uint16, as hands."""
    hand_starts: np.ndarray
    """(F + 1,) uint32."""
    object_starts: np.ndarray
    """(F + 1,) uint32."""

    @property
    def frames(self) -> int:
        """F."""
        return len(self.hand_starts) - 1


@dataclass
class _Columns:
    hands: list[tuple[float, ...]] = field(default_factory=list)
    offsets: list[tuple[float, float]] = field(default_factory=list)
    states: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    objects: list[tuple[float, ...]] = field(default_factory=list)
    hand_starts: list[int] = field(default_factory=lambda: [0])
    object_starts: list[int] = field(default_factory=lambda: [0])


class ArraysBuilder:
    """Collects the frames of a video, in order, into `Arrays`."""

    def __init__(self) -> None:
        """Begin with no frame."""
        self._columns = _Columns()

    @property
    def frames(self) -> int:
        """Frames so far."""
        return len(self._columns.hand_starts) - 1

    def add(self, frame: FrameDetections) -> None:
        """Take the next frame.

        Args:
            frame: what was found in it.

        Raises:
            DataError: a number of it is none, or a state or side is unknown.
        """
        columns = self._columns
        for hand in frame.hands:
            if hand.side not in (LEFT, RIGHT) or not (0 <= hand.state <= STATIONARY or hand.state == UNKNOWN_STATE):
                raise DataError(f"frame {self.frames + 1}: a hand with side {hand.side} and state {hand.state}")
            columns.hands.append((*hand.corners, hand.score))
            columns.offsets.append(hand.offset)
            columns.states.append(hand.state)
            columns.sides.append(hand.side)
        columns.objects += [(*one.corners, one.score) for one in frame.objects if not one.score < LEAST_OBJECT_SCORE]
        columns.hand_starts.append(len(columns.hands))
        columns.object_starts.append(len(columns.objects))

    def finish(self) -> Arrays:
        """Put the frames together.

        Returns:
            The arrays.

        Raises:
            DataError: a box, score or offset is no finite number.
        """
        columns = self._columns
        hands = np.array(columns.hands, np.float64).reshape(-1, 5)
        offsets = np.array(columns.offsets, np.float64).reshape(-1, 2)
        objects = np.array(columns.objects, np.float64).reshape(-1, 5)
        for rows, starts in ((np.hstack([hands, offsets]), columns.hand_starts), (objects, columns.object_starts)):
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if len(bad):
                frame = np.searchsorted(starts, bad[0], side="right")
                raise DataError(f"frame {frame}: a box of no finite numbers: damaged, make or fetch it again")
        return Arrays(
            hands=np.rint(np.clip(hands, 0, 1) * FULL).astype(np.uint16),
            offsets=np.rint(np.clip(offsets, -1, 1) * OFFSET_FULL).astype(np.int16),
            states=np.array(columns.states, np.uint8),
            sides=np.array(columns.sides, np.uint8),
            objects=np.rint(np.clip(objects, 0, 1) * FULL).astype(np.uint16),
            hand_starts=np.array(columns.hand_starts, np.uint32),
            object_starts=np.array(columns.object_starts, np.uint32),
        )
