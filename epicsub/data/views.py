"""How many times, and how, a segment is looked at in evaluation: clips in time, crops in space, mirrored or not, and at
which frame rates."""

import re
from dataclasses import dataclass

from epicsub.data.sampling import view_positions
from epicsub.errors import DataError

GRAMMAR = (
    "CLIPSxCROPS with 1 or 3 crops and any number of clips from 1, then +flip or not, then @ and factors of the "
    "stride or not, from 0.1 to 10 and each once: 1x1, 5x3, 10x3+flip, 5x3+flip@0.8,1,1.25"
)
FORM = re.compile(r"([1-9]\d{0,2})x([13])(\+flip)?(@\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)*)?")
FACTORS = (0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Views:
    """`clips` in time, `crops` along the longer side (1 or 3), each also mirrored where `flip`, all of it at each of
    the `strides`: factors of the recipe's seconds between two frames. Above 1 a clip covers more time."""

    clips: int = 1
    crops: int = 1
    flip: bool = False
    strides: tuple[float, ...] = (1.0,)

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
        """(stride factor, position) of every clip; a position is 0 at the segment's start and 1 at its end."""
        positions = view_positions(self.clips).tolist()
        return [(factor, position) for factor in self.strides for position in positions]


def parse_views(text: str) -> Views:
    """`Views` from a text like 5x3+flip or 5x3+flip@0.8,1,1.25.

    Raises:
        DataError: the text is not of that form.
    """
    match = FORM.fullmatch(text)
    if match is None:
        raise DataError(f"views {text!r}: {GRAMMAR}")
    factors = tuple(float(word) for word in match[4][1:].split(",")) if match[4] else (1.0,)
    return Views(clips=int(match[1]), crops=int(match[2]), flip=match[3] is not None, strides=factors)
