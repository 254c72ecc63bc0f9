"""`data.boxes` of a recipe: hands and objects beside the pixels of a clip. Tags as in schema.py."""

from typing import Annotated, Literal

from pydantic import Field

from epicsub.recipe.base import Count, Section, Share, ShareAboveZero


class Boxes(Section):
    """Hands and objects of each clip, six slots a slice of time, from boxes/ (`epicsub data boxes`)."""

    slices: Count = 4
    """Equal parts of a clip's frames, each with six slots; must divide `data.frames` and be the times of the model's
    map: 4 for I3D on 16 frames."""
    hand_score: Share = 0.5
    """Hands below this score of the detector are left out; .5 as its authors advise."""
    object_score: Annotated[float, Field(ge=0.05, le=1)] = 0.5
    """Objects below this score are left out; at least .05, below which boxes/ holds none."""
    enlarge: Annotated[float, Field(ge=1, le=4)] = 1.1
    """Factor of a box's sides, because a hand box ends at the wrist [D]."""
    min_visible: ShareAboveZero = 0.25
    """A box of which the crop leaves a smaller share of its area is left out [D]."""
    missing: Literal["stop", "none"] = "stop"
    """stop: a video without boxes stops the run; none: its clips have no slot, and are counted."""
