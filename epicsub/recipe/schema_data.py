"""`data` of a recipe: which clips, and how they are cut from the videos. Tags as in schema.py."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo

from epicsub.recipe.base import (
    FILLED_LIST,
    LIST,
    PAIR,
    Count,
    NotNegative,
    Positive,
    Section,
    Share,
    ShareAboveZero,
    Text,
    WholeNumber,
)

Modality = Literal["rgb", "flow", "audio"]


class RandAugment(Section):
    """Operations drawn from torchvision's fourteen (1909.13719)."""

    operations: Count = 2
    """Operations for each clip, one after the other."""
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    """Strength, 0 to 30."""


class Augment(Section):
    """Random changes of a training clip; the same for all its frames and, but for colours, all its modalities."""

    crop: Literal["scale_jitter", "random_resized"]
    """How the square is cut: TSN's 13 offsets at one of `scales` [C], or any place and shape of a share of the area."""
    scales: Annotated[tuple[ShareAboveZero, ...], FILLED_LIST] | None = None
    """Sides of the crop as shares of the short side (scale_jitter only); 1, .875, .75, .66 in [C]."""
    area: Annotated[tuple[ShareAboveZero, ...], PAIR] | None = None
    """Smallest and largest share of the picture's area (random_resized only)."""
    flip: Share
    """Probability of a mirrored clip; flow changes the sign of u with it. 0.5 in [C]."""
    color_jitter: NotNegative = 0.0
    """Largest relative change of brightness, contrast and saturation, rgb only; 0 is none."""
    rand_augment: RandAugment | None = None
    """RandAugment of rgb, after the colours; where it moves the picture flow does not follow; null is none."""
    erase: Share = 0.0
    """Probability that a box of 2 to 33 % of the picture is filled with the mean, in all modalities (1708.04896)."""


class VideoCut(NamedTuple):
    """How clips are cut from videos: the settings that a recipe on features has not."""

    frames: int
    sampling: Literal["dense", "uniform"]
    stride: float | None
    short_side: int
    size: int
    augment: Augment


def _one_for_all(value: Any, info: ValidationInfo) -> Any:
    """A single place of features stands for every modality."""
    return dict.fromkeys(info.data.get("modalities", ()), value) if isinstance(value, str) else value


class Data(Section):
    """Which clips, and how they are cut from the videos; or which features of them."""

    root: Text | None = None
    """Data folder; null takes --data, $EPICSUB_DATA or data/."""
    source: Annotated[tuple[Text, ...], FILLED_LIST]
    """Labelled lists under annotations/."""
    target: Annotated[tuple[Text, ...], LIST] = ()
    """Lists under annotations/ to adapt to, without their labels, drawn from in balance; none = no adaptation."""
    skip: Text | None = None
    """File of narration ids to leave out, one a line; null leaves out none."""
    modalities: Annotated[tuple[Modality, ...], FILLED_LIST]
    """What the model sees, in this order."""
    features: Annotated[dict[Modality, Text] | None, BeforeValidator(_one_for_all)] = None
    """Features in place of videos: a folder or file under the data root, or one for each modality; null = videos."""
    store: Literal["auto", "original", "prepared"] = "auto"
    """What clips are read from; auto takes prepared/ where it holds every segment of the run, else the originals."""
    decoder: Literal["auto", "pyav", "torchcodec", "decord"] = "auto"
    """What decodes the videos; auto is pyav, the fastest and on every machine."""
    frames: Count | None = None
    """Frames of a clip."""
    sampling: Literal["dense", "uniform"] | None = None
    """dense: a window of frames * stride seconds; uniform: one frame from each equal part of the segment."""
    stride: Positive | None = None
    """Seconds between two frames (dense only); 1/30 s is every second frame at 60 frames a second [S]."""
    context: NotNegative = 0.0
    """Most seconds on each side that a clip longer than its segment takes of the video around it (dense only); at 0 it
    repeats frames. The prepared store must have been made with as large a --margin."""
    synchronised: bool = True
    """Whether a training clip has its modalities at the same times; false lets each draw its own position [S]."""
    short_side: Count | None = None
    """Pixels of the picture's short side after resizing."""
    size: Count | None = None
    """Pixels of the square that the model sees."""
    augment: Augment | None = None
    """Random changes of a training clip."""
    workers: WholeNumber | None = None
    """Processes that decode; null is one for each core, from 1 to 16. 0 decodes in the training process, where a stuck
    decoder is never ended."""

    def video(self) -> VideoCut:
        """The settings for videos, which `load_recipe` holds to be there where `features` are not."""
        assert self.frames is not None
        assert self.sampling is not None
        assert self.short_side is not None
        assert self.size is not None
        assert self.augment is not None
        return VideoCut(self.frames, self.sampling, self.stride, self.short_side, self.size, self.augment)
