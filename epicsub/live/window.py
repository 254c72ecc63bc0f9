"""The last seconds of a camera or a video, from which clips are cut as evaluation cuts them out of files.

A frame is decoded when a clip needs it, and its flow computed then: what no clip needs costs nothing.

Shape legend: T frames, H height, W width, C channels, S side of the square crop.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import cv2
import numpy as np
import torch
from av.video.frame import VideoFrame

from epicsub.data.decode import HALF_MILLISECOND
from epicsub.data.flow.compute import FlowMaker
from epicsub.data.sampling import clip_times
from epicsub.data.transforms import view_crops
from epicsub.errors import LiveError
from epicsub.modality import FLOW
from epicsub.recipe import Recipe

UNIFORM_SECONDS = 2.0
"""what a clip covers whose recipe spreads frames over a whole segment, which live video has not"""
MOST_FRAMES = 2000
LONGEST_GAP = 1.0
"""seconds without a frame after which what came before is forgotten: a tab that slept, a camera that was unplugged"""


@dataclass(frozen=True)
class Cut:
    """How a model's clips are cut."""

    modalities: tuple[str, ...]
    frames: int
    sampling: str
    stride: float | None
    short_side: int
    size: int
    seconds: float
    """that a clip covers"""

    @classmethod
    def of(cls, recipe: Recipe) -> "Cut":
        """Take the settings of a recipe.

        Args:
            recipe: of a model that reads videos.

        Returns:
            Its clips.

        Raises:
            LiveError: the model reads features, or a modality that no camera gives.
        """
        if recipe.data.features:
            raise LiveError(f"{recipe.name} reads features, which a camera does not give: name a run that reads videos")
        if recipe.data.crop:
            raise LiveError(
                f"{recipe.name} sees hands by boxes, which a camera does not give: name a run without data.crop"
            )
        data = recipe.data.video()
        seconds = UNIFORM_SECONDS if data.stride is None else data.frames * data.stride
        return cls(
            tuple(recipe.data.modalities), data.frames, data.sampling, data.stride, data.short_side, data.size, seconds
        )


class Frame:
    """One frame, decoded when it is first looked at."""

    def __init__(self, number: int, time: float, decode: Callable[[], VideoFrame]) -> None:
        """Keep a frame.

        Args:
            number: of the frame since the start.
            time: from which it is shown, in seconds.
            decode: gives its picture.
        """
        self.number, self.time, self._decode = number, time, decode
        self.gray_HW: np.ndarray | None = None
        """of `FlowMaker`, once it is made"""
        self.flow_HW2: np.ndarray | None = None
        """to the next frame, once it is made"""

    @cached_property
    def picture(self) -> VideoFrame:
        """As decoded."""
        return self._decode()

    @cached_property
    def rgb(self) -> np.ndarray:
        """uint8 (H, W, 3), red, green, blue."""
        return self.picture.to_ndarray(format="rgb24", threads=1)


class Window:
    """The frames of the last seconds; one thread adds, another may cut."""

    def __init__(self, seconds: float, flow_stride: int = 1) -> None:
        """Open an empty window.

        Args:
            seconds: to keep.
            flow_stride: frames from one flow picture to the next.
        """
        self.seconds, self.flow_stride = seconds, flow_stride
        self.count = 0
        self._frames: deque[Frame] = deque(maxlen=MOST_FRAMES)
        self._lock = Lock()
        self._maker: tuple[tuple[int, int], FlowMaker] | None = None

    def add(self, time: float, decode: Callable[[], VideoFrame]) -> None:
        """Add the next frame.

        Args:
            time: from which it is shown, in seconds; it rises.
            decode: gives its picture when a clip needs it.
        """
        with self._lock:
            last = self._frames[-1].time if self._frames else time
            if not last <= time <= last + LONGEST_GAP:
                self._frames.clear()
            self._frames.append(Frame(self.count, time, decode))
            self.count += 1
            # One frame more than the clip is long, and one flow picture's stride, so that its first one is there.
            while (
                len(self._frames) > 3 + self.flow_stride
                and self._frames[2 + self.flow_stride].time < time - self.seconds
            ):
                self._frames.popleft()

    def end(self, cut: Cut) -> float | None:
        """Find where the newest whole clip ends.

        Args:
            cut: how it is cut.

        Returns:
            Seconds; None until enough frames have come. With flow one frame must have come after the last one of it.
        """
        with self._lock:
            if len(self._frames) < 2:
                return None
            newest = self._frames[-2 if FLOW.name in cut.modalities else -1].time
            return newest if newest - cut.seconds >= self._frames[0].time - HALF_MILLISECOND else None

    def clip(self, cut: Cut, start: float, stop: float) -> dict[str, torch.Tensor]:
        """Cut the middle clip out of a part of what was kept, as evaluation does out of a file.

        Args:
            cut: how.
            start: of the part, in seconds.
            stop: of the part, in seconds.

        Returns:
            uint8 (1, C, T, S, S) by modality.

        Raises:
            LiveError: a frame cannot be decoded, or pictures changed their size within the clip.
        """
        times = clip_times(start, stop, cut.frames, cut.sampling, cut.stride, 0.5)
        with self._lock:
            kept = list(self._frames)
        shown = [frame.time for frame in kept]
        rows = [max(0, bisect_right(shown, time + HALF_MILLISECOND) - 1) for time in times]
        clips = {}
        for modality in cut.modalities:
            make = self._flow if modality == FLOW.name else self._rgb
            pictures = [make(kept, row) for row in rows]
            if len({picture.shape for picture in pictures}) > 1:
                raise LiveError("the pictures change their size; wait until all of a clip are of one")
            all_THWC = torch.from_numpy(np.stack(pictures))
            clips[modality] = view_crops(all_THWC, modality, cut.short_side, cut.size, 1, False)
        return clips

    def _rgb(self, kept: list[Frame], row: int) -> np.ndarray:
        return kept[row].rgb

    def _flow(self, kept: list[Frame], row: int) -> np.ndarray:
        """The flow picture on show with a frame: from the last frame whose number is a multiple of the stride."""
        row = max(0, row - kept[row].number % self.flow_stride)
        row = min(row, len(kept) - 2)
        frame = kept[row]
        if frame.flow_HW2 is None:
            frame.flow_HW2 = self._maker_for(frame).between(self._gray(frame), self._gray(kept[row + 1]))
        return frame.flow_HW2

    def _gray(self, frame: Frame) -> np.ndarray:
        if frame.gray_HW is None:
            frame.gray_HW = self._maker_for(frame).gray(frame.picture)
        return frame.gray_HW

    def _maker_for(self, frame: Frame) -> FlowMaker:
        size = (frame.picture.width, frame.picture.height)
        if self._maker is None or self._maker[0] != size:
            self._maker = (size, FlowMaker(*size))
        return self._maker[1]


def decode_jpeg(data: bytes) -> VideoFrame:
    """Decode a picture that a browser sent.

    Args:
        data: JPEG.

    Returns:
        The picture.

    Raises:
        LiveError: it is none, or an unreasonably large one.
    """
    picture_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data[:2] == b"\xff\xd8" else None
    if picture_HWC is None or max(picture_HWC.shape) > 4096:
        raise LiveError("what came is no picture of a camera (JPEG): load the page again")
    return VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="bgr24")


def needed_seconds(cuts: list[Cut]) -> float:
    """How long a window must be.

    Args:
        cuts: of the models that look through it.

    Returns:
        Seconds.
    """
    return max(cut.seconds for cut in cuts)
