"""`data` of a recipe: which clips, and how they are cut from the videos. Tags as in schema.py."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, ValidationInfo

from epicsub.modality import MODALITIES, ModalityName
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
    purpose_of,
)
from epicsub.recipe.boxes import Boxes
from epicsub.recipe.yaml_tree import Problem, format_value

_COLOR = [modality.name for modality in MODALITIES.values() if modality.is_color]


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
    modalities: Annotated[tuple[ModalityName, ...], FILLED_LIST]
    """What the model sees, in this order."""
    features: Annotated[dict[ModalityName, Text] | None, BeforeValidator(_one_for_all)] = None
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
    """Seconds between two frames (dense only); 1/30 s is every second frame at 60 frames per second [S]."""
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
    boxes: Boxes | None = None
    """Hands and objects beside the pixels; null is none."""
    crop: Literal["hands"] | None = None
    """hands: data.modalities has hand_crop, the part of rgb around the hands and what they hold (data.boxes)."""
    workers: WholeNumber | None = None
    """Processes that decode; null is one for each core, from 1 to 16. 0 decodes in the training process, where a stuck
    decoder is never ended."""

    def video(self) -> VideoCut:
        """Give the settings for videos, which a loaded recipe has where it has no `features`.

        Returns:
            How clips are cut.
        """
        assert self.frames is not None
        assert self.sampling is not None
        assert self.short_side is not None
        assert self.size is not None
        assert self.augment is not None
        return VideoCut(self.frames, self.sampling, self.stride, self.short_side, self.size, self.augment)


def check_data(data: Data) -> Iterator[Problem]:
    """Check that the settings of `data` fit each other.

    Args:
        data: The section.

    Yields:
        What does not fit.
    """
    yield from _check_videos_or_features(data)
    if data.features is None:
        yield from _check_sampling(data)
        if data.augment is not None:
            yield from _check_augment(data.augment, data)
        for index, modality in enumerate(data.modalities):
            if not MODALITIES[modality].from_video:
                yield Problem(
                    f"data.modalities.{index}", f"is {modality}, which is read from data.features alone: give them"
                )
    else:
        yield from check_modalities("data.features", data.features, data, "name its features")
    yield from _check_lists(data)


def check_modalities(key: str, named: dict[ModalityName, Any], data: Data, advice: str) -> Iterator[Problem]:
    """Check that a setting for each modality is there for exactly those of `data.modalities`.

    Args:
        key: Dotted key of the setting.
        named: Its values.
        data: The section.
        advice: What to write for a modality that is missing.

    Yields:
        Modalities that are missing or too many.
    """
    for modality in data.modalities:
        if modality not in named:
            yield Problem(f"{key}.{modality}", f"missing, data.modalities has it: {advice}")
    for modality, value in named.items():
        if modality not in data.modalities:
            text = f"is {format_value(value)}, but data.modalities has no {modality}: leave it out"
            yield Problem(f"{key}.{modality}", text)


def _check_videos_or_features(data: Data) -> Iterator[Problem]:
    needed: dict[str, object] = {
        "frames": data.frames,
        "sampling": data.sampling,
        "short_side": data.short_side,
        "size": data.size,
        "augment": data.augment,
    }
    optional: dict[str, object] = {
        "stride": data.stride,
        "context": data.context,
        "synchronised": data.synchronised,
        "store": data.store,
        "decoder": data.decoder,
        "boxes": data.boxes,
        "crop": data.crop,
        "workers": data.workers,
    }
    if data.features is None:
        for name, value in needed.items():
            if value is None:
                yield Problem(f"data.{name}", f"missing, it must be given: {purpose_of(Data, name)}")
        return
    for name, value in (needed | optional).items():
        if value != Data.model_fields[name].default:
            text = f"is {format_value(value)}, but data.features has no video to cut: leave it out"
            yield Problem(f"data.{name}", text)


def _check_sampling(data: Data) -> Iterator[Problem]:
    if data.sampling == "dense" and data.stride is None:
        yield Problem("data.stride", "missing, dense sampling needs the seconds between two frames, e.g. 0.0333333")
    if data.sampling == "uniform" and data.stride is not None:
        text = f"is {format_value(data.stride)}, but uniform sampling has no stride: leave it out"
        yield Problem("data.stride", text)
    if data.sampling == "uniform" and data.context > 0:
        text = "but uniform sampling spreads the frames over the segment, however short: leave it out"
        yield Problem("data.context", f"is {format_value(data.context)}, {text}")
    if data.size is not None and data.short_side is not None and data.size > data.short_side:
        yield Problem("data.size", f"is {data.size}, must be at most data.short_side ({data.short_side})")


def _check_augment(augment: Augment, data: Data) -> Iterator[Problem]:
    owned = {"scales": ("scale_jitter", augment.scales), "area": ("random_resized", augment.area)}
    for name, (owner, value) in owned.items():
        key = f"data.augment.{name}"
        if augment.crop == owner and value is None:
            yield Problem(key, f"missing, crop {augment.crop} needs it")
        if augment.crop != owner and value is not None:
            yield Problem(key, f"is {format_value(value)}, but only crop {owner} has it: leave it out")
    if augment.area is not None and augment.area[0] > augment.area[1]:
        yield Problem("data.augment.area", f"is {format_value(augment.area)}, must be [smallest, largest]")
    if any(MODALITIES[modality].is_color for modality in data.modalities):
        return
    colors = " or ".join(_COLOR)
    if augment.color_jitter > 0:
        text = f"is {format_value(augment.color_jitter)}, but data.modalities has no {colors}: write 0"
        yield Problem("data.augment.color_jitter", text)
    if augment.rand_augment is not None:
        text = f"changes {colors} alone, but data.modalities has no {colors}: leave it out"
        yield Problem("data.augment.rand_augment", text)


def _check_lists(data: Data) -> Iterator[Problem]:
    for name, items in (("modalities", data.modalities), ("source", data.source), ("target", data.target)):
        for index, item in enumerate(items):
            if item in items[:index]:
                yield Problem(f"data.{name}.{index}", f"is {format_value(item)}, which is listed twice, list it once")
    for index, item in enumerate(data.target):
        if item in data.source:
            yield Problem(f"data.target.{index}", f"is {format_value(item)}, which data.source has too, keep it in one")
