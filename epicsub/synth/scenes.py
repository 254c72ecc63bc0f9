"""What is to be seen at any moment of a planned video, and where: read by what draws it and by what boxes it."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, radians, sin

import numpy as np

from epicsub.synth.kitchens import Kitchen, kitchen_of
from epicsub.synth.motions import MOTIONS, Layer
from epicsub.synth.plan import IRRELEVANT, PlannedSegment, PlannedVideo, SynthSettings
from epicsub.synth.sprites import Sprite, make_sprites

DISTRACTOR = "other-"  # begins the name of a layer with another noun than the segment's
OTHER_NEAR, OTHER_FAR = 0.3, 0.7  # picture heights from the action to a distractor
OTHER_SIZE = 0.7  # of a distractor, where the object of the action is 1


@dataclass(frozen=True, slots=True)
class Style:
    """How one segment is performed and seen."""

    phase: float
    frequency: float
    reach: float  # half the way of the motion, picture heights
    view: np.ndarray  # (3, 3): from the action's own place to the worktop
    shake: np.ndarray  # (4, 2): phase and frequency (Hz) of the camera's swings
    others: tuple[Layer, ...]  # distractors


@dataclass(frozen=True, slots=True)
class Seen:
    """One layer of a scene."""

    layer: Layer
    sprite: Sprite
    matrix: np.ndarray
    """(3, 3): from the layer's own picture heights to pixels."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be seen at one moment."""

    segment: PlannedSegment
    style: Style
    camera: np.ndarray
    """(3, 3): from the worktop in picture heights to pixels."""
    layers: list[Seen]
    """From the first to the last that is drawn."""


class Scenes:
    """The scenes of a video."""

    def __init__(self, plan: PlannedVideo, settings: SynthSettings) -> None:
        """Paint the sprites.

        Args:
            plan: the video.
            settings: of the kitchens.
        """
        self.kitchen: Kitchen = kitchen_of(plan.participant, settings.shift)
        self._segments, self._settings = plan.segments, settings
        self._ends = _switch_times(plan.segments)
        self._styles = [_style(segment, settings) for segment in plan.segments]
        nouns = {segment.noun for segment in plan.segments}
        nouns |= {int(layer.thing.removeprefix(DISTRACTOR)) for style in self._styles for layer in style.others}
        self._sprites = make_sprites(self.kitchen, sorted(nouns), settings.height)

    def at(self, t: float) -> Scene:
        """Set the scene of a moment.

        Args:
            t: seconds after the start of the video.

        Returns:
            The scene.
        """
        current = min(bisect_right(self._ends, t), len(self._ends) - 1)
        segment, style = self._segments[current], self._styles[current]
        camera = _camera(self.kitchen, self._settings, style, t)
        layers = [
            Seen(layer, self._find(layer.thing, segment.noun), camera @ style.view @ placed(layer))
            for layer in (*style.others, *_layers(segment, style, t))
        ]
        return Scene(segment, style, camera, layers)

    def _find(self, thing: str, noun: int) -> Sprite:
        if thing.startswith(DISTRACTOR):
            return self._sprites[thing.replace(DISTRACTOR, "noun-")]
        return self._sprites[thing.replace("noun", f"noun-{noun}")]


def _switch_times(segments: tuple[PlannedSegment, ...]) -> list[float]:
    """When the picture goes from one segment to the next: in the middle of the pause, or of the overlap."""
    between = [(a.stop + b.start) / 2 for a, b in pairwise(segments)]
    return [*between, float("inf")]


def _style(segment: PlannedSegment, settings: SynthSettings) -> Style:
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
    phase, cycles = float(random.random()), frequency * MOTIONS[segment.verb].frequency
    return Style(phase, cycles, reach, view, shake, _others(segment, settings))


def _others(segment: PlannedSegment, settings: SynthSettings) -> tuple[Layer, ...]:
    """Objects of other nouns that lie around the action all the time; drawn from a stream of their own."""
    random = np.random.default_rng([segment.draw, 1])
    nouns = [noun for noun in settings.noun_ids if noun != segment.noun]
    layers = []
    for noun in random.permutation(nouns)[: settings.distractors].tolist():
        far, angle, turn = random.uniform(OTHER_NEAR, OTHER_FAR), random.uniform(0, 2 * pi), random.uniform(-30, 30)
        x, y = far * cos(angle), far * sin(angle)
        layers.append(Layer(f"{DISTRACTOR}{noun}", x, y, float(turn), OTHER_SIZE, OTHER_SIZE))
    return tuple(layers)


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


def placed(layer: Layer) -> np.ndarray:
    """Place a layer.

    Args:
        layer: where it is.

    Returns:
        (3, 3), from its own picture heights to the action's.
    """
    return _similar(layer.x, layer.y, layer.angle, layer.wide, layer.high)


def _similar(x: float, y: float, angle: float, wide: float, high: float) -> np.ndarray:
    """(3, 3): scale, then rotate (clockwise as seen, because y grows downwards), then move."""
    c, s = cos(radians(angle)), sin(radians(angle))
    return np.array([[c * wide, -s * high, x], [s * wide, c * high, y], [0.0, 0.0, 1.0]])
