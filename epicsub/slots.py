"""Slots: which hands and objects a clip shows, as one tensor beside its pixels.

`clips["boxes"]` of a batch is float32 (B, T, 6, 12): T slices of time of equal length (`data.boxes.slices`), six slots
each, twelve entries a slot. A slot without a box is zero throughout. Coordinates are shares of the network's own input
picture, after crop, resizing and mirroring.

Shape legend: B clips, T slices of time, S slots (6).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever has a tensor has imported torch
    from torch import Tensor

BOXES = "boxes"
"""Key of the slots among a batch's clips."""
SLOTS = ("left hand", "right hand", "held by left", "held by right", "object", "second object")
HANDS, HELD, OTHERS = (0, 1), (2, 3), (4, 5)
"""Slots of the hands, of what each of them holds, and of other objects."""
MIRRORED = (1, 0, 3, 2, 4, 5)
"""The slot whose box a slot has in a mirrored clip."""
STATES = ("none", "self", "other person", "portable", "stationary")
"""Contact of a hand, in the official numbers; MediaPipe's hands have no state at all."""
ENTRIES = 12
CORNERS, SCORE, STATE, PRESENT, SEEN = slice(0, 4), 4, slice(5, 10), 10, 11
"""Places of the entries: x0, y0, x1, y1; score of the detector; state one-hot (hands alone); 1 for a box; share of the
slice's frames that have the box."""


@dataclass(frozen=True)
class Slots:
    """The parts of `clips["boxes"]`, as views of it."""

    corners_BTS4: "Tensor"  # noqa: N815
    """x0, y0, x1, y1, 0 to 1, x0 < x1 and y0 < y1."""
    score_BTS: "Tensor"  # noqa: N815
    state_BTS5: "Tensor"  # noqa: N815
    """One-hot over `STATES`; zeros for objects, and for hands without a known state."""
    present_BTS: "Tensor"  # noqa: N815
    """bool."""
    seen_BTS: "Tensor"  # noqa: N815
    """Share of the slice's frames."""

    @classmethod
    def of(cls, boxes_BTSE: "Tensor") -> "Slots":
        """Name the parts.

        Args:
            boxes_BTSE: `clips["boxes"]`; the first axes may be any.

        Returns:
            Views of the tensor, and the mask of the slots that have a box.
        """
        return cls(
            boxes_BTSE[..., CORNERS],
            boxes_BTSE[..., SCORE],
            boxes_BTSE[..., STATE],
            boxes_BTSE[..., PRESENT] > 0,
            boxes_BTSE[..., SEEN],
        )
