"""How many times, and how, a segment is looked at in evaluation: clips in time, crops in space, mirrored or not."""

import re
from dataclasses import dataclass

from epicsub.errors import DataError

GRAMMAR = "CLIPSxCROPS with 1 or 3 crops and any number of clips from 1, then +flip or not: 1x1, 5x3, 10x3+flip"
FORM = re.compile(r"([1-9]\d{0,2})x([13])(\+flip)?")


@dataclass(frozen=True, slots=True)
class Views:
    """`clips` in time, `crops` along the longer side (1 or 3), each also mirrored where `flip`."""

    clips: int = 1
    crops: int = 1
    flip: bool = False

    def __post_init__(self) -> None:
        if FORM.fullmatch(str(self)) is None:
            raise DataError(f"views {self}: {GRAMMAR}")

    def __str__(self) -> str:
        return f"{self.clips}x{self.crops}{'+flip' if self.flip else ''}"

    @property
    def count(self) -> int:
        """Views of a segment."""
        return self.clips * self.crops * (2 if self.flip else 1)


def parse_views(text: str) -> Views:
    """`Views` from a text like 5x3+flip.

    Raises:
        DataError: the text is not of that form.
    """
    match = FORM.fullmatch(text)
    if match is None:
        raise DataError(f"views {text!r}: {GRAMMAR}")
    return Views(clips=int(match[1]), crops=int(match[2]), flip=match[3] is not None)
