"""The modalities: one row each of `MODALITIES`, read by every package that treats them differently.

A new modality is a row of this file and its name in `ModalityName` (and `VideoModality`, if clips are cut from it).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

ModalityName = Literal["rgb", "flow", "hand_crop", "audio", "hands", "objects"]
"""Names of all rows, for recipes."""
VideoModality = Literal["rgb", "flow"]
"""Names of the rows with pixels, for the commands that read or write videos."""

PRESENT, SECONDS = "present", "seconds"
"""Keys beside the modalities in a batch of windows of segments (data/neighbours.py)."""


@dataclass(frozen=True, kw_only=True)
class Modality:
    """Facts of one modality. Pixels are uint8; a modality without `channels` is read from features alone."""

    name: str
    channels: int = 0
    """Channels of a clip."""
    fill: tuple[int, ...] = ()
    """Level of each channel in an area without content (erased or padded)."""
    mirror_negates: tuple[int, ...] = ()
    """Channels whose level x becomes 255 - x in a mirrored clip."""
    mean: tuple[float, ...] = ()
    """Level of each channel that a network with no normalisation of its own takes to 0."""
    std: tuple[float, ...] = ()
    """Levels of each channel that such a network takes to a distance of 1."""
    video_folder: str = ""
    """Folder of video files under the data root."""
    frame_folder: str = ""
    """Folder of the organisers' extracted frames under the data root."""
    gray_channels: tuple[str, ...] = ()
    """Names of the channels where each is a gray picture: side by side in the luma plane of a video, in folders of
    these names among extracted frames. Empty: color pictures."""
    frame_stride_2018: int = 1
    """RGB frames of a 2018 video (PXX_YY) per extracted frame."""
    command: str = ""
    """The command that computes it from the RGB videos; empty for recordings."""
    keeps_size: bool = False
    """The prepared store must not resize it, because levels count pixels of its own size."""
    cut_from: str = ""
    """The modality whose pictures it is cut from (`data.crop`); empty for those with files of their own."""
    bytes_per_second: float = 0.0
    """Size of a second in the prepared store at default settings (benchmarks/store_size.py)."""

    @property
    def from_video(self) -> bool:
        """True if clips can be cut from videos or frames; False if it is read from features alone."""
        return self.channels > 0

    @property
    def is_color(self) -> bool:
        """True if pixels are colors, which photometric augmentation changes."""
        return self.from_video and not self.gray_channels


RGB = Modality(
    name="rgb",
    channels=3,  # red, green, blue
    fill=(124, 116, 104),  # ImageNet's mean color
    mean=(127.5,) * 3,  # -1 to 1, the input range of the Kinetics I3D (kinetics-i3d README), for RGB and for flow
    std=(127.5,) * 3,
    video_folder="videos",
    frame_folder="rgb_frames",
    bytes_per_second=71e3,
)
FLOW = Modality(
    name="flow",
    channels=2,  # u to the right, v down; 127.5 is no motion
    fill=(128, 128),
    mirror_negates=(0,),
    mean=(127.5,) * 2,
    std=(127.5,) * 2,
    video_folder="flow",
    frame_folder="flow_frames",
    gray_channels=("u", "v"),
    frame_stride_2018=2,
    command="epicsub data flow",
    keeps_size=True,
    bytes_per_second=122e3,
)
HAND_CROP = Modality(
    name="hand_crop",
    channels=RGB.channels,
    fill=RGB.fill,
    mean=RGB.mean,
    std=RGB.std,
    cut_from=RGB.name,
)
AUDIO = Modality(name="audio")
HAND_REGIONS = Modality(name="hands")  # of `epicsub data features RUN --regions`
OBJECT_REGIONS = Modality(name="objects")

MODALITIES: dict[str, Modality] = {row.name: row for row in (RGB, FLOW, HAND_CROP, AUDIO, HAND_REGIONS, OBJECT_REGIONS)}


def with_files(names: Iterable[str]) -> tuple[str, ...]:
    """Leave out the modalities that are cut from others.

    Args:
        names: of modalities.

    Returns:
        Those that are read from files, in their order.
    """
    return tuple(name for name in names if not MODALITIES[name].cut_from)


def video_modality(name: str) -> Modality:
    """The row of a modality that clips are cut from.

    Args:
        name: of the modality.

    Returns:
        Its row of `MODALITIES`.

    Raises:
        ValueError: there is none of this name, or it is read from features alone.
    """
    if name not in get_args(VideoModality):
        raise ValueError(f"modality {name!r}: one of {', '.join(get_args(VideoModality))}")
    return MODALITIES[name]
