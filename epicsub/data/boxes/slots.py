"""From the boxes of a video to the six slots of each slice of a clip, and their way through crops and mirroring.

Shape legend: T slices of time, S slots (6), E entries of a slot (12), F frames of the clip. What a slot is, and its
entries, stand in `epicsub.slots`.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from epicsub.data.boxes.detections import FULL, OFFSET_FULL, PORTABLE, STATIONARY
from epicsub.data.boxes.store import Note, VideoBoxes, boxes_path, open_boxes
from epicsub.data.transforms import Box
from epicsub.io.files import may_be_file
from epicsub.slots import ENTRIES, HELD, MIRRORED, OTHERS, PRESENT, SLOTS, STATES

OPEN_FILES = 64

_Row = list[int]  # left, top, right, bottom, score, in levels
_Held = tuple[_Row, int]  # a row and the state of the hand, -1 for none


@dataclass(frozen=True, kw_only=True)
class SlotSettings:
    """How slots are filled; as `data.boxes` of a recipe."""

    slices: int = 4
    """T."""
    hand_score: float = 0.5
    """Lowest of a hand."""
    object_score: float = 0.5
    """Lowest of an object."""
    enlarge: float = 1.1
    """Factor of a box's sides."""
    min_visible: float = 0.25
    """Smallest share of a box's area that a crop must leave."""
    missing: str = "stop"
    """none: a video without boxes has clips without slots; stop: it is an error."""


class BoxSource:
    """Fills slots. Safe to hand to worker processes: mapped files are left behind."""

    def __init__(self, root: Path, settings: SlotSettings) -> None:
        """Choose how; no file is opened.

        Args:
            root: the data root.
            settings: how slots are filled.
        """
        self.root, self.settings = root, settings
        self._videos: OrderedDict[str, VideoBoxes | None] = OrderedDict()
        self._process = os.getpid()

    def fill(self, video_id: str, times: np.ndarray) -> np.ndarray:
        """Fill the slots of a clip; boxes are shares of the whole picture.

        Args:
            video_id: like P01_01.
            times: (F,) seconds of the clip's frames; F is a multiple of T.

        Returns:
            (T, S, E) float32; zeros where there is no box.

        Raises:
            DataError: the file of boxes is damaged, or missing where it must not be.
        """
        settings = self.settings
        slots_TSE = np.zeros((settings.slices, len(SLOTS), ENTRIES), np.float32)
        video = self._video(video_id)
        if video is None:
            return slots_TSE
        numbers = video.frames_at(times).tolist()
        each = len(numbers) // settings.slices
        found = {number: _frame(video, number, settings) for number in dict.fromkeys(numbers)}
        for place in range(settings.slices):
            frames = [found[number] for number in numbers[place * each : (place + 1) * each]]
            for slot in (0, 1, *HELD):
                _write(slots_TSE[place, slot], [one for frame in frames if (one := frame.slots[slot])], each)
            for slot, row in zip(OTHERS, frames[(each - 1) // 2].others, strict=False):
                _write(slots_TSE[place, slot], [(row, -1)], each)
        return _enlarged(slots_TSE, settings.enlarge)

    def _video(self, video_id: str) -> VideoBoxes | None:
        if self._process != os.getpid():
            self._videos, self._process = OrderedDict(), os.getpid()
        if video_id in self._videos:
            self._videos.move_to_end(video_id)
            return self._videos[video_id]
        path = boxes_path(self.root, video_id)
        video = None if self.settings.missing == "none" and not may_be_file(path) else open_boxes(path)
        while len(self._videos) >= OPEN_FILES:
            self._videos.popitem(last=False)
        self._videos[video_id] = video
        return video

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_videos": OrderedDict()}


@dataclass(frozen=True, slots=True)
class _Found:
    """What one frame gives: the best hand a side, what each of them holds, and the two best other objects."""

    slots: tuple[_Held | None, ...]
    others: list[_Row]


def _frame(video: VideoBoxes, number: int, settings: SlotSettings) -> _Found:
    """Plain lists and loops: a frame has a handful of rows, of which arrays would take several times as long."""
    arrays = video.arrays
    first, last = arrays.hand_starts[number : number + 2].tolist()
    start, end = arrays.object_starts[number : number + 2].tolist()
    low_hand, low_object = settings.hand_score * FULL, settings.object_score * FULL
    hands = arrays.hands[first:last].tolist()
    best: list[int | None] = [None, None]
    for row, side in enumerate(arrays.sides[first:last].tolist() if hands else ()):
        rival = best[side]
        if hands[row][4] >= low_hand and _has_area(hands[row]) and (rival is None or hands[row][4] > hands[rival][4]):
            best[side] = row
    objects = [row for row in arrays.objects[start:end].tolist() if row[4] >= low_object and _has_area(row)]
    objects.sort(key=itemgetter(4), reverse=True)
    slots: list[_Held | None] = [None] * 4
    taken = set()
    for side, hand in enumerate(best):
        if hand is None:
            continue
        state = int(arrays.states[first + hand])
        slots[side] = (hands[hand], state if state < len(STATES) else -1)
        if state in (PORTABLE, STATIONARY) and objects:
            near = _pointed_at(hands[hand], arrays.offsets[first + hand].tolist(), objects, video.note)
            slots[HELD[side]] = (objects[near], -1)
            taken.add(near)
    others = [row for place, row in enumerate(objects) if place not in taken] if taken else objects
    return _Found(tuple(slots), others[: len(OTHERS)])


def _pointed_at(hand: _Row, offset: list[int], objects: list[_Row], note: Note) -> int:
    """The object nearest to where a hand points; in pixels, because a share is longer across than down."""
    scale = 2 * FULL / OFFSET_FULL  # twice all lengths, which spares halving every middle
    x, y = hand[0] + hand[2] + scale * offset[0], hand[1] + hand[3] + scale * offset[1]
    nearest, least = 0, inf
    for place, (left, top, right, bottom, _) in enumerate(objects):
        distance = ((left + right - x) * note.width) ** 2 + ((top + bottom - y) * note.height) ** 2
        if distance < least:
            nearest, least = place, distance
    return nearest


def _has_area(row: _Row) -> bool:
    return row[0] < row[2] and row[1] < row[3]


def _write(slot_E: np.ndarray, found: list[_Held], frames: int) -> None:
    """The mean of boxes, weighted by their scores; the state that has the highest sum of scores."""
    if not found:
        return
    left = top = right = bottom = total = 0.0
    sums = [0.0] * len(STATES)
    for (x0, y0, x1, y1, score), state in found:
        weight = score or 1e-6
        left, top, right, bottom = left + weight * x0, top + weight * y0, right + weight * x1, bottom + weight * y1
        total += weight
        if state >= 0:
            sums[state] += weight
    one_hot = [0.0] * len(STATES)
    if most := max(sums):
        one_hot[sums.index(most)] = 1.0
    unit = total * FULL
    mean = (left / unit, top / unit, right / unit, bottom / unit, total / len(found) / FULL)
    slot_E[:] = (*mean, *one_hot, 1.0, len(found) / frames)


def _enlarged(slots_TSE: np.ndarray, factor: float) -> np.ndarray:
    """Boxes larger by a factor around their middle, within the picture."""
    low, high = slots_TSE[..., 0:2].copy(), slots_TSE[..., 2:4].copy()
    more = (high - low) * (factor - 1) / 2
    slots_TSE[..., 0:2] = np.clip(low - more, 0, 1)
    slots_TSE[..., 2:4] = np.clip(high + more, 0, 1)
    return slots_TSE


def move_slots(slots_TSE: np.ndarray, cut: Box, mirrored: bool, min_visible: float) -> np.ndarray:
    """Take slots along to where a crop and its mirroring show them.

    Args:
        slots_TSE: boxes as shares of the whole picture.
        cut: what was cut out of the picture.
        mirrored: left and right were exchanged: boxes, and the slots of the hands and of what they hold.
        min_visible: a box of which less of the area is left is dropped.

    Returns:
        (T, S, E) float32, boxes as shares of the crop; zeros where there is none.
    """
    moved_TSE = slots_TSE.copy()
    corner, sides = np.array((cut.left, cut.top)), np.array((cut.width, cut.height))
    low, high = (slots_TSE[..., 0:2] - corner) / sides, (slots_TSE[..., 2:4] - corner) / sides
    shown_low, shown_high = np.clip(low, 0, 1), np.clip(high, 0, 1)
    area, shown = np.prod(high - low, axis=-1), np.prod(shown_high - shown_low, axis=-1)
    if mirrored:
        shown_low[..., 0], shown_high[..., 0] = 1 - shown_high[..., 0], 1 - shown_low[..., 0]
    moved_TSE[..., 0:2], moved_TSE[..., 2:4] = shown_low, shown_high
    moved_TSE[(shown <= 0) | (shown < min_visible * area)] = 0
    return moved_TSE[:, MIRRORED] if mirrored else moved_TSE


def slots_present(slots_TSE: np.ndarray) -> np.ndarray:
    """Tell which slots have a box.

    Args:
        slots_TSE: of a clip.

    Returns:
        (T, S) bool.
    """
    present: np.ndarray = slots_TSE[..., PRESENT] > 0
    return present
