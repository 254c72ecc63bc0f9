"""Verbs as motions: a phase in [0, 1) to layers, drawn from first to last.

A motion repeats about twice a second, so that a clip of half a second shows it whole wherever it is cut, and it is
large, so that optical flow sees it. Lengths are picture heights, y grows downwards, the middle of the picture is
(0, 0), angles are degrees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple


class Layer(NamedTuple):
    """One sprite at a place. `thing` "noun", "noun-left" and "noun-right" stand for the segment's object."""

    thing: str
    x: float
    y: float
    angle: float = 0.0
    wide: float = 1.0
    high: float = 1.0


Motion = Callable[[float, float], list[Layer]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A motion and how many of its cycles fit into a second."""

    motion: Motion
    frequency: float


def _take(phase: float, reach: float) -> list[Layer]:
    """Object and hand come nearer, from the top of the picture to its bottom, again and again."""
    share = min(phase / 0.75, 1.0)
    y = reach * (1.1 * share - 0.55)
    size = 0.85 + 0.3 * share
    if phase < 0.75:
        return [Layer("noun", 0.0, y, 0, size, size), Layer("hand", 0.18, y + 0.2)]
    back = (phase - 0.75) / 0.25
    return [Layer("noun", 0.0, -0.55 * reach, 0, 0.85, 0.85), Layer("hand", 0.18, reach * (0.55 - 1.1 * back) + 0.2)]


def _put(phase: float, reach: float) -> list[Layer]:
    """`_take` backwards in time: the object goes away, the hand comes back without it."""
    return _take((1.0 - phase) % 1.0, reach)


def _open(phase: float, reach: float) -> list[Layer]:
    """The halves of the object slide apart and show a dark inside; the hand goes with the right one."""
    wide = reach * 0.8 * phase
    return [
        Layer("gap", 0.0, 0.0, 0, 0.1 + 4.6 * wide, 1.0),
        Layer("noun-left", -wide, 0.0),
        Layer("noun-right", wide, 0.0),
        Layer("hand", wide + 0.2, 0.16),
    ]


def _close(phase: float, reach: float) -> list[Layer]:
    """`_open` backwards in time: the halves come together."""
    return _open(1.0 - phase, reach)


def _wash(phase: float, reach: float) -> list[Layer]:
    """The hand rubs from side to side over the object that lies still, in foam."""
    x = 0.55 * reach * sin(2 * pi * phase)
    foam = Layer("foam", 0.5 * x, -0.05, 25 * sin(2 * pi * phase))
    return [Layer("noun", 0.0, 0.0), foam, Layer("hand", x + 0.06, 0.14)]


def _cut(phase: float, reach: float) -> list[Layer]:
    """Knife and hand go straight up and down over the object that lies still."""
    y = 0.45 * reach * cos(2 * pi * phase)
    return [Layer("noun", -0.08, 0.06), Layer("knife", 0.2, y - 0.1), Layer("hand", 0.24, y)]


def _mix(phase: float, reach: float) -> list[Layer]:
    """Spoon and hand go round in a circle over the object that lies still."""
    x, y = 0.42 * reach * cos(2 * pi * phase), 0.42 * reach * sin(2 * pi * phase)
    return [Layer("noun", 0.0, 0.0), Layer("spoon", x, y), Layer("hand", x + 0.04, y + 0.22)]


def _pour(phase: float, reach: float) -> list[Layer]:
    """The hand holds the object high and tips it to and fro; a banded stream runs down from it."""
    angle = 45 + 75 * reach * sin(2 * pi * phase)
    stream_y = -0.02 + 0.1 * (2 * phase % 1.0)  # two bands a cycle: downwards at any moment
    return [
        Layer("stream", -0.22, stream_y),
        Layer("noun", 0.06, -0.16, -angle),
        Layer("hand", 0.26, -0.08, -0.3 * angle),
    ]


def _shake(phase: float, reach: float) -> list[Layer]:
    """Hand and object together from side to side."""
    x = 0.5 * reach * sin(2 * pi * phase)
    return [Layer("noun", x, 0.0), Layer("hand", x + 0.18, 0.2)]


def _squeeze(phase: float, reach: float) -> list[Layer]:
    """The object is pressed flat and springs back under a hand that stays where it is."""
    press = 0.8 * reach * sin(2 * pi * phase)
    return [Layer("noun", 0.0, 0.0, 0, 1.0 - press, 1.0 + press), Layer("hand", 0.16, 0.18)]


MOTIONS = {
    0: Verb(_take, 2.0), 1: Verb(_put, 2.0), 2: Verb(_wash, 2.6), 3: Verb(_open, 2.3), 4: Verb(_close, 2.3),
    7: Verb(_cut, 2.6), 10: Verb(_mix, 2.0), 9: Verb(_pour, 2.2), 15: Verb(_shake, 3.2), 18: Verb(_squeeze, 2.4),
}  # fmt: skip
