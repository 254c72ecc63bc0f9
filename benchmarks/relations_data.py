"""Clips of small kitchens with exact and spoiled boxes, drawn straight to pictures: no video is written or decoded.

Boxes still go the way of all boxes: a detector's frames to the file of a video, and from it to slots.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from epicsub.data.boxes.detections import ArraysBuilder
from epicsub.data.boxes.slots import BoxSource, SlotSettings
from epicsub.data.boxes.store import Note, boxes_path, write_boxes
from epicsub.slots import HANDS, HELD, PRESENT
from epicsub.synth.boxes import box_of, frame_boxes
from epicsub.synth.plan import PlannedVideo, SynthSettings, plan_videos
from epicsub.synth.render import draw_frames
from epicsub.synth.scenes import Scenes

FRAMES, SLICES, SIDE = 4, 2, 96
NOISY = {"box_miss": 0.2, "box_jitter": 0.1, "box_swap": 0.5}
SPLITS = ("train", "heldout", "validation")
WHOLE = (0.0, 0.0, 1.0, 1.0)
CROP = 1.3  # of the side of what a crop is around


class Clips(NamedTuple):
    """N clips of a list."""

    pictures: np.ndarray
    """(N, T, height, width, 3) uint8, as drawn."""
    verb_N: Tensor  # noqa: N815
    noun_N: Tensor  # noqa: N815
    true: Tensor
    """Slots (N, slices, 6, 12) of exact boxes."""
    noisy: Tensor
    """Of spoiled ones."""
    noun_box: np.ndarray
    """(N, 4): the object of the action, which no detector tells apart."""


def draw_clips(settings: SynthSettings) -> dict[str, Clips]:
    """Every list of a kitchen's segments, one clip a segment.

    Args:
        settings: with boxes, without their noise.

    Returns:
        By split.
    """
    parts: dict[str, list[tuple]] = {split: [] for split in SPLITS}
    for plan in plan_videos(settings):
        if plan.split in parts:
            parts[plan.split] += _of_video(plan, settings)
    return {split: _together(rows) for split, rows in parts.items()}


def _of_video(plan: PlannedVideo, settings: SynthSettings) -> list[tuple]:
    times = [_times(segment.start, segment.stop) for segment in plan.segments]
    numbers = [min(int(second * plan.fps), plan.frames - 1) for of in times for second in of]
    pictures = np.stack(list(draw_frames(plan, settings, numbers))).reshape(len(times), FRAMES, *_shape(settings))
    seconds = [float(number / plan.fps) for number in numbers]
    noisy = replace(settings, **NOISY)
    exact, spoiled = (_slots(plan, of, seconds) for of in (settings, noisy))
    scenes = Scenes(plan, settings)
    rows = []
    for place, segment in enumerate(plan.segments):
        found = [_noun_box(scenes, second, settings) for second in seconds[place * FRAMES : (place + 1) * FRAMES]]
        seen = [box for box in found if box is not None]
        noun_box = np.mean(seen, axis=0) if seen else np.array(WHOLE)
        rows.append((pictures[place], segment.verb, segment.noun, exact[place], spoiled[place], noun_box))
    return rows


def _shape(settings: SynthSettings) -> tuple[int, int, int]:
    return settings.height, settings.width, 3


def _times(start: float, stop: float) -> list[float]:
    """The middles of equal parts of a segment."""
    return [start + (stop - start) * (part + 0.5) / FRAMES for part in range(FRAMES)]


def _slots(plan: PlannedVideo, settings: SynthSettings, seconds: Sequence[float]) -> np.ndarray:
    """(segments, slices, 6, 12): a file with the boxes of these moments alone, read at one of them a second."""
    builder = ArraysBuilder()
    for frame in frame_boxes(plan, settings, seconds):
        builder.add(frame)
    note = Note(detector="drawn", source={}, rate=1.0, width=settings.width, height=settings.height)
    with TemporaryDirectory() as folder:
        write_boxes(boxes_path(Path(folder), plan.video_id), builder.finish(), note)
        source = BoxSource(Path(folder), SlotSettings(slices=SLICES))
        moments = np.arange(len(seconds), dtype=np.float64).reshape(-1, FRAMES)
        return np.stack([source.fill(plan.video_id, of) for of in moments])


def _noun_box(scenes: Scenes, second: float, settings: SynthSettings) -> tuple[float, float, float, float] | None:
    boxes = [box_of(seen, settings) for seen in scenes.at(second).layers if seen.layer.thing == "noun"]
    return next((box for box in boxes if box is not None), None)


def _together(rows: list[tuple]) -> Clips:
    pictures, verbs, nouns, exact, spoiled, boxes = zip(*rows, strict=True)
    slots = (torch.from_numpy(np.stack(one)) for one in (exact, spoiled))
    return Clips(np.stack(pictures), torch.tensor(verbs), torch.tensor(nouns), *slots, np.stack(boxes))


def whole_pictures(clips: Clips) -> Tensor:
    """(N, 3, T, SIDE, SIDE) uint8: what the network sees."""
    return _resized(clips.pictures, np.tile(WHOLE, (len(clips.pictures), 1)))


def crops_of(clips: Clips, corners_N4: np.ndarray) -> Tensor:
    """Squares around boxes, as the network would see them."""
    height, width = clips.pictures.shape[2:4]
    x0, y0, x1, y1 = corners_N4.T * np.array([[width], [height], [width], [height]])
    half = np.clip(CROP * np.maximum(x1 - x0, y1 - y0), 16, height) / 2
    x, y = np.clip((x0 + x1) / 2, half, width - half), np.clip((y0 + y1) / 2, half, height - half)
    return _resized(clips.pictures, np.stack([(x - half) / width, (y - half) / height, (x + half) / width,
                                              (y + half) / height], axis=1))  # fmt: skip


def hand_boxes(slots: Tensor) -> np.ndarray:
    """(N, 4): what spans a clip's hands and what they hold; the whole picture where there is no hand."""
    found = []
    for slots_TSE in slots[:, :, [*HANDS, *HELD]].numpy():
        seen = slots_TSE[slots_TSE[..., PRESENT] > 0]
        found.append((*seen[:, :2].min(axis=0), *seen[:, 2:4].max(axis=0)) if len(seen) else WHOLE)
    return np.array(found)


def _resized(pictures: np.ndarray, corners_N4: np.ndarray) -> Tensor:
    height, width = pictures.shape[2:4]
    out = np.empty((*pictures.shape[:2], SIDE, SIDE, 3), np.uint8)
    for place, (clip, (x0, y0, x1, y1)) in enumerate(zip(pictures, corners_N4, strict=True)):
        top, bottom = int(y0 * height), max(int(y0 * height) + 1, round(y1 * height))
        left, right = int(x0 * width), max(int(x0 * width) + 1, round(x1 * width))
        for number, picture in enumerate(clip):
            out[place, number] = cv2.resize(
                picture[top:bottom, left:right], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR
            )
    return torch.from_numpy(out).permute(0, 4, 1, 2, 3)
