"""Hands and objects of every drawn frame, in the organisers' format: exact, or as wrong as the settings say.

A hand's box goes from its fingers to its wrist. An object is held while its middle is within `REACH` of the hand: a
tool before anything else, as in real kitchens, where the noun of "cut carrot" is not what the hand holds.
"""

import pickle
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil, hypot
from pathlib import Path
from random import Random

import numpy as np

from epicsub.data.boxes.convert import SOURCE_FOLDER
from epicsub.data.boxes.detections import LEFT, PORTABLE, RIGHT, Corners, FrameDetections, Hand, Thing
from epicsub.data.boxes.official import Message, write_message
from epicsub.data.frames import index_rate
from epicsub.io import atomic_write
from epicsub.synth.plan import PlannedSegment, PlannedVideo, SynthSettings, random_stream
from epicsub.synth.scenes import DISTRACTOR, Scene, Scenes, Seen, placed

REACH = 0.35  # picture heights between a hand and the middle of what it holds
SURPLUS = 4  # frames that the organisers' files have beyond the video's duration
HAND = "hand"
TOOLS = ("knife", "spoon")
NOT_BOXED = ("foam", "stream", "gap")
LEAST_PIXELS = 2  # a box that the picture cuts narrower is not found
HAND_SCORE, LOWEST_SCORE, HIGHEST_SCORE = 0.98, 0.6, 0.95


def box_path(root: Path, video: PlannedVideo) -> Path:
    """Name the file of a video's boxes.

    Args:
        root: the data root.
        video: which.

    Returns:
        Its path in the organisers' layout.
    """
    return root / SOURCE_FOLDER / video.participant / f"{video.video_id}.pkl"


def write_official_boxes(plan: PlannedVideo, settings: SynthSettings, path: Path) -> None:
    """Write the boxes of a video, whole or not at all: a pickled list of messages, one a frame.

    Args:
        plan: the video.
        settings: of the kitchens.
        path: of the file.
    """
    messages = [
        write_message(Message(plan.video_id, number, found))
        for number, found in enumerate(frame_boxes(plan, settings), start=1)
    ]
    with atomic_write(path) as temporary:
        temporary.write_bytes(pickle.dumps(messages, protocol=4))


def frame_boxes(
    plan: PlannedVideo, settings: SynthSettings, times: Iterable[float] | None = None
) -> Iterator[FrameDetections]:
    """Box the hands and objects of every frame.

    Args:
        plan: the video.
        settings: of the kitchens; their noise of boxes is applied.
        times: seconds to box; None is every frame of the organisers' rate.

    Yields:
        What a detector would have found.
    """
    if times is None:
        rate = index_rate(plan.video_id)
        times = (number / rate for number in range(ceil(Fraction(plan.frames) / plan.fps * rate) + SURPLUS))
    scenes = Scenes(plan, settings)
    random = random_stream(settings, plan.video_id, "boxes")
    for time in times:
        yield _spoiled(_found(scenes.at(time), settings), settings, random)


def box_of(seen: Seen, settings: SynthSettings) -> Corners | None:
    """Box one layer of a scene.

    Args:
        seen: the layer.
        settings: give the picture's size.

    Returns:
        Left, top, right, bottom, as shares of the picture; None where less than two pixels of it are in the picture.
    """
    x, y = (seen.matrix @ seen.sprite.outline)[:2] + 0.5  # a pixel's middle is a whole number there
    left, right = np.clip(np.array((x.min(), x.max())) / settings.width, 0, 1)
    top, bottom = np.clip(np.array((y.min(), y.max())) / settings.height, 0, 1)
    if (right - left) * settings.width < LEAST_PIXELS or (bottom - top) * settings.height < LEAST_PIXELS:
        return None
    return float(left), float(top), float(right), float(bottom)


def _found(scene: Scene, settings: SynthSettings) -> FrameDetections:
    """Exact boxes of a scene."""
    things: list[tuple[Seen, Thing]] = []
    for place, seen in enumerate(one for one in scene.layers if one.layer.thing not in (HAND, *NOT_BOXED)):
        box = box_of(seen, settings)
        if box is not None:
            things.append((seen, Thing(box, _score(scene.segment, place))))
    hands = []
    side = LEFT if np.linalg.det(scene.style.view[:2, :2]) < 0 else RIGHT
    for seen in (one for one in scene.layers if one.layer.thing == HAND):
        box = box_of(seen, settings)
        if box is not None:
            held = _held(seen, things)
            state, offset = (PORTABLE, _offset(box, held.corners)) if held else (0, (0.0, 0.0))
            hands.append(Hand(box, HAND_SCORE, state, offset, side))
    things.sort(key=lambda pair: -pair[1].score)
    return FrameDetections(hands, [thing for _, thing in things])


def _held(hand: Seen, things: list[tuple[Seen, Thing]]) -> Thing | None:
    """The tool, else the nearest object of the action, within reach of a hand's anchor; distractors just lie there."""
    near = []
    for seen, thing in (pair for pair in things if not pair[0].layer.thing.startswith(DISTRACTOR)):
        outline = placed(seen.layer) @ seen.sprite.outline
        x, y = ((outline[axis].min() + outline[axis].max()) / 2 for axis in (0, 1))
        distance = hypot(x - hand.layer.x, y - hand.layer.y)
        if distance < REACH:
            near.append((seen.layer.thing not in TOOLS, distance, thing))
    return min(near, key=lambda one: one[:2])[2] if near else None


def _offset(hand: Corners, thing: Corners) -> tuple[float, float]:
    (x, y), (to_x, to_y) = _centre(hand), _centre(thing)
    return to_x - x, to_y - y


def _centre(box: Corners) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _score(segment: PlannedSegment, place: int) -> float:
    """The same in all of a segment, and of no object higher than of another on average: it must not tell the noun."""
    return Random(f"{segment.draw}/{place}").uniform(LOWEST_SCORE, HIGHEST_SCORE)


def _spoiled(found: FrameDetections, settings: SynthSettings, random: np.random.Generator) -> FrameDetections:
    """Boxes moved, lost and made up as the settings say; without any noise they stay as they are."""
    hands = [hand for hand in found.hands if random.random() >= settings.box_miss]
    objects = [thing for thing in found.objects if random.random() >= settings.box_miss]
    for place, hand in enumerate(hands):
        others = [thing for thing in objects if _offset(hand.corners, thing.corners) != hand.offset]
        if hand.state == PORTABLE and others and random.random() < settings.box_swap:
            other = others[random.integers(len(others))]
            hands[place] = hand._replace(offset=_offset(hand.corners, other.corners))
    if settings.box_jitter:
        hands = [hand._replace(corners=_jittered(hand.corners, settings, random)) for hand in hands]
        objects = [thing._replace(corners=_jittered(thing.corners, settings, random)) for thing in objects]
    if random.random() < settings.box_false:
        (x, y), (wide, high) = random.uniform(0, 0.8, 2), random.uniform(0.1, 0.4, 2)
        score = random.uniform(LOWEST_SCORE, HIGHEST_SCORE)
        corners = (float(x), float(y), float(min(1, x + wide)), float(min(1, y + high)))
        objects.append(Thing(corners, float(score)))
    return FrameDetections(hands, objects)


def _jittered(box: Corners, settings: SynthSettings, random: np.random.Generator) -> Corners:
    width, height = box[2] - box[0], box[3] - box[1]
    moved = np.array(box) + settings.box_jitter * random.normal(size=4) * (width, height, width, height)
    (left, right), (top, bottom) = np.sort(np.clip(moved.reshape(2, 2).T, 0, 1), axis=1)
    return float(left), float(top), float(right), float(bottom)
