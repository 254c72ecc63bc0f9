"""Verbs as motions, the frames of one planned video, and the file they are written to.

A motion maps a phase in [0, 1) to layers, drawn from first to last. It repeats about twice a second, so that a clip of
half a second shows it whole wherever it is cut, and it is large, so that optical flow sees it. Lengths are picture
heights, y grows downwards, the middle of the picture is (0, 0), angles are degrees.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, radians, sin
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from epicsub.io import atomic_write
from epicsub.synth.kitchens import WORLD_SIDE, Kitchen, kitchen_of, light_map, paint_worktop
from epicsub.synth.plan import IRRELEVANT, PlannedSegment, PlannedVideo, SynthSettings, random_stream
from epicsub.synth.sprites import Sprite, make_sprites


class Layer(NamedTuple):
    """One sprite at a place. `thing` "noun", "noun-left" and "noun-right" stand for the segment's object."""

    thing: str
    x: float
    y: float
    angle: float = 0.0
    wide: float = 1.0
    high: float = 1.0


Motion = Callable[[float, float], list[Layer]]


@dataclass(frozen=True, slots=True)
class Verb:
    """A motion and how many of its cycles fit into a second."""

    motion: Motion
    frequency: float


def _take(phase: float, reach: float) -> list[Layer]:
    """Object and hand come nearer, from the top of the picture to its bottom, again and again."""
    share = min(phase / 0.75, 1.0)
    y = reach * (1.1 * share - 0.55)
    size = 0.85 + 0.3 * share
    if phase < 0.75:
        return [Layer("noun", 0.0, y, 0, size, size), Layer("hand", 0.18, y + 0.2)]
    back = (phase - 0.75) / 0.25
    return [Layer("noun", 0.0, -0.55 * reach, 0, 0.85, 0.85), Layer("hand", 0.18, reach * (0.55 - 1.1 * back) + 0.2)]


def _put(phase: float, reach: float) -> list[Layer]:
    """`_take` backwards in time: the object goes away, the hand comes back without it."""
    return _take((1.0 - phase) % 1.0, reach)


def _open(phase: float, reach: float) -> list[Layer]:
    """The halves of the object slide apart and show a dark inside; the hand goes with the right one."""
    wide = reach * 0.8 * phase
    return [
        Layer("gap", 0.0, 0.0, 0, 0.1 + 4.6 * wide, 1.0),
        Layer("noun-left", -wide, 0.0),
        Layer("noun-right", wide, 0.0),
        Layer("hand", wide + 0.2, 0.16),
    ]


def _close(phase: float, reach: float) -> list[Layer]:
    """`_open` backwards in time: the halves come together."""
    return _open(1.0 - phase, reach)


def _wash(phase: float, reach: float) -> list[Layer]:
    """The hand rubs from side to side over the object that lies still, in foam."""
    x = 0.55 * reach * sin(2 * pi * phase)
    foam = Layer("foam", 0.5 * x, -0.05, 25 * sin(2 * pi * phase))
    return [Layer("noun", 0.0, 0.0), foam, Layer("hand", x + 0.06, 0.14)]


def _cut(phase: float, reach: float) -> list[Layer]:
    """Knife and hand go straight up and down over the object that lies still."""
    y = 0.45 * reach * cos(2 * pi * phase)
    return [Layer("noun", -0.08, 0.06), Layer("knife", 0.2, y - 0.1), Layer("hand", 0.24, y)]


def _mix(phase: float, reach: float) -> list[Layer]:
    """Spoon and hand go round in a circle over the object that lies still."""
    x, y = 0.42 * reach * cos(2 * pi * phase), 0.42 * reach * sin(2 * pi * phase)
    return [Layer("noun", 0.0, 0.0), Layer("spoon", x, y), Layer("hand", x + 0.04, y + 0.22)]


def _pour(phase: float, reach: float) -> list[Layer]:
    """The hand holds the object high and tips it to and fro; a banded stream runs down from it."""
    angle = 45 + 75 * reach * sin(2 * pi * phase)
    stream_y = -0.02 + 0.1 * (2 * phase % 1.0)  # two bands a cycle: downwards at any moment
    return [
        Layer("stream", -0.22, stream_y),
        Layer("noun", 0.06, -0.16, -angle),
        Layer("hand", 0.26, -0.08, -0.3 * angle),
    ]


def _shake(phase: float, reach: float) -> list[Layer]:
    """Hand and object together from side to side."""
    x = 0.5 * reach * sin(2 * pi * phase)
    return [Layer("noun", x, 0.0), Layer("hand", x + 0.18, 0.2)]


def _squeeze(phase: float, reach: float) -> list[Layer]:
    """The object is pressed flat and springs back under a hand that stays where it is."""
    press = 0.8 * reach * sin(2 * pi * phase)
    return [Layer("noun", 0.0, 0.0, 0, 1.0 - press, 1.0 + press), Layer("hand", 0.16, 0.18)]


MOTIONS = {
    0: Verb(_take, 2.0), 1: Verb(_put, 2.0), 2: Verb(_wash, 2.6), 3: Verb(_open, 2.3), 4: Verb(_close, 2.3),
    7: Verb(_cut, 2.6), 10: Verb(_mix, 2.0), 9: Verb(_pour, 2.2), 15: Verb(_shake, 3.2), 18: Verb(_squeeze, 2.4),
}  # fmt: skip


KEYFRAME_EVERY = 12  # frames: reading a clip in the middle of a video costs little
NOISE_PICTURES = 8


@dataclass(frozen=True, slots=True)
class Style:
    """How one segment is performed and seen."""

    phase: float
    frequency: float
    reach: float  # half the way of the motion, picture heights
    view: np.ndarray  # (3, 3): from the action's own place to the worktop
    shake: np.ndarray  # (4, 2): phase and frequency (Hz) of the camera's swings


def write_video(plan: PlannedVideo, settings: SynthSettings, path: Path) -> None:
    """Draw a video and write it whole: H.264, yuv420p, keyframes every KEYFRAME_EVERY frames.

    Args:
        plan: the video.
        settings: of the kitchens.
        path: the .MP4.
    """
    cv2.setNumThreads(1)
    with atomic_write(path) as temporary, av.open(str(temporary), "w") as container:
        container.metadata["comment"] = json.dumps({"epicsub_synth": settings.as_dict()}, sort_keys=True)
        options = {"preset": "ultrafast", "crf": str(settings.crf), "threads": "1", "g": str(KEYFRAME_EVERY)}
        stream = container.add_stream("libx264", rate=plan.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        stream.thread_count = 1
        for picture in draw_frames(plan, settings):
            yuv = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(yuv, format="yuv420p")))
        container.mux(stream.encode(None))


def draw_frames(plan: PlannedVideo, settings: SynthSettings) -> Iterator[np.ndarray]:
    """Draw the frames of a video.

    Args:
        plan: the video.
        settings: of the kitchens.

    Yields:
        RGB pictures, (height, width, 3) uint8.
    """
    kitchen = kitchen_of(plan.participant, settings.shift)
    random = random_stream(settings, plan.video_id, "look")
    unit = 1.1 * settings.height  # worktop pixels a picture height
    worktop = paint_worktop(kitchen, round(WORLD_SIDE * unit), settings.clutter, random)
    nouns = sorted({segment.noun for segment in plan.segments})
    sprites = make_sprites(kitchen, nouns, settings.height)
    light = light_map(kitchen, settings.width, settings.height)
    shape = (settings.height, settings.width, 3)
    noise = [np.round(random.normal(0, settings.noise, shape)).astype(np.int16) for _ in range(NOISE_PICTURES)]
    worktop_to_world = np.array([[1 / unit, 0, -WORLD_SIDE / 2], [0, 1 / unit, -WORLD_SIDE / 2], [0, 0, 1]])
    ends = _switch_times(plan.segments)
    styles = [_style(segment) for segment in plan.segments]
    current = 0
    for index in range(plan.frames):
        t = float(index / plan.fps)
        while t >= ends[current] and current + 1 < len(ends):
            current += 1
        segment, style = plan.segments[current], styles[current]
        camera = _camera(kitchen, settings, style, t)
        frame = cv2.warpAffine(
            worktop, (camera @ worktop_to_world)[:2], (shape[1], shape[0]), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        for layer in _layers(segment, style, t):
            _blend(frame, _find(sprites, layer.thing, segment.noun), camera @ style.view @ _placed(layer))
        cv2.multiply(frame, light, frame, 1 / 128)
        yield cv2.add(frame, noise[(7 * index) % NOISE_PICTURES], dtype=cv2.CV_8U) if settings.noise else frame


def _switch_times(segments: tuple[PlannedSegment, ...]) -> list[float]:
    """When the picture goes from one segment to the next: in the middle of the pause, or of the overlap."""
    between = [(a.stop + b.start) / 2 for a, b in pairwise(segments)]
    return [*between, float("inf")]


def _style(segment: PlannedSegment) -> Style:
    """Hands differ a little; in an irrelevant segment somebody on another side of the table is small and slow."""
    random = np.random.default_rng(segment.draw)
    angle, mirror = random.uniform(-10, 10), 1.0
    frequency, reach = random.uniform(0.88, 1.15), random.uniform(0.42, 0.56)
    if segment.kind == IRRELEVANT:
        angle += 90.0 if random.random() < 0.5 else -90.0
        mirror = -1.0
        frequency *= 0.6
        reach *= 0.6
    view = _similar(random.uniform(-0.07, 0.07), random.uniform(-0.06, 0.06), angle, mirror, 1.0)
    shake = np.stack([random.uniform(0, 2 * pi, 4), random.uniform(0.4, 2.2, 4)], axis=1)
    return Style(float(random.random()), frequency * MOTIONS[segment.verb].frequency, reach, view, shake)


def _layers(segment: PlannedSegment, style: Style, t: float) -> list[Layer]:
    """What is to be seen at `t`: the motion, or outside the segment the object alone."""
    if not segment.start <= t <= segment.stop:
        return [Layer("noun", 0.0, 0.0)]
    phase = (style.phase + style.frequency * (t - segment.start)) % 1.0
    return MOTIONS[segment.verb].motion(phase, style.reach)


def _camera(kitchen: Kitchen, settings: SynthSettings, style: Style, t: float) -> np.ndarray:
    """(3, 3): from the worktop in picture heights to pixels."""
    swing = np.sin(style.shake[:, 0] + 2 * pi * style.shake[:, 1] * t) * kitchen.shake * settings.jitter
    seen = _similar(0.0, 0.0, kitchen.tilt, 1.0, 1.0)
    seen[0, 1] += kitchen.shear
    seen[:2] *= kitchen.zoom * settings.height
    seen[0, 2] = settings.width / 2 + settings.height * (swing[0] + swing[1])
    seen[1, 2] = settings.height * (0.5 + kitchen.height + swing[2] + swing[3])
    return seen


def _placed(layer: Layer) -> np.ndarray:
    return _similar(layer.x, layer.y, layer.angle, layer.wide, layer.high)


def _similar(x: float, y: float, angle: float, wide: float, high: float) -> np.ndarray:
    """(3, 3): scale, then rotate (clockwise as seen, because y grows downwards), then move."""
    c, s = cos(radians(angle)), sin(radians(angle))
    return np.array([[c * wide, -s * high, x], [s * wide, c * high, y], [0.0, 0.0, 1.0]])


def _find(sprites: dict[str, Sprite], thing: str, noun: int) -> Sprite:
    return sprites[thing.replace("noun", f"noun-{noun}")]


def _blend(frame: np.ndarray, sprite: Sprite, placed: np.ndarray) -> None:
    """Draw a sprite over the frame, touching only the part that it covers."""
    matrix = placed @ sprite.to_world
    height, width = sprite.keep.shape[:2]
    xs = [matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] for x in (0, width) for y in (0, height)]
    ys = [matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] for x in (0, width) for y in (0, height)]
    left, top = max(0, int(min(xs))), max(0, int(min(ys)))
    right, bottom = min(frame.shape[1], int(max(xs)) + 2), min(frame.shape[0], int(max(ys)) + 2)
    if left >= right or top >= bottom:
        return
    matrix = matrix[:2].copy()
    matrix[:, 2] -= (left, top)
    size = (right - left, bottom - top)
    part = frame[top:bottom, left:right]
    keep = cv2.warpAffine(
        sprite.keep, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255)
    )
    colour = cv2.warpAffine(sprite.colour, matrix, size, flags=cv2.INTER_LINEAR)
    part[:] = cv2.add(cv2.multiply(part, keep, scale=1 / 255), colour)
