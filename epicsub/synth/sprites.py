"""Things that are drawn: one painter for each noun, the hand, and the tools and traces of the verbs.

A painter fills a square canvas (colour, mask) in which lengths run from 0 to 1; shapes and textures are coarse, so that
they survive at 20 pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from epicsub.synth.kitchens import Kitchen

CANVAS = 256  # pixels of a painter's canvas, scaled down when the sprite is made
OBJECT_SIDE = 0.56  # picture heights
WRIST = 0.54  # share of the hand's canvas down to which its outline goes
Point = tuple[float, float]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Sprite:
    """Premultiplied colour and what is left of the background, with the map from its pixels to picture heights.

    colour, keep: (h, w, 3) uint8; to_world: (3, 3) float64, the anchor goes to (0, 0). outline: (3, N) float64, corners
    of the convex hull of what is painted, in picture heights.
    """

    colour: np.ndarray
    keep: np.ndarray
    to_world: np.ndarray
    outline: np.ndarray


class Canvas:
    """A square canvas from (0, 0) to (1, 1) that remembers where it was painted."""

    def __init__(self) -> None:
        """Start with nothing painted."""
        self.colour = np.zeros((CANVAS, CANVAS, 3), np.uint8)
        self.mask = np.zeros((CANVAS, CANVAS), np.uint8)

    def disc(self, centre: Point, radii: Point, colour: Colour, angle: float = 0.0) -> None:
        """Fill an ellipse. Points and lengths are shares of the canvas.

        Args:
            centre: of the ellipse.
            radii: along its two axes.
            colour: of the fill.
            angle: degrees.
        """
        for plane, value in self._planes(colour):
            cv2.ellipse(plane, _px(centre), _px(radii), angle, 0, 360, value, -1)

    def ring(self, centre: Point, radius: float, colour: Colour, thick: float) -> None:
        """Draw a circle.

        Args:
            centre: of the circle.
            radius: to the middle of the line.
            colour: of the line.
            thick: width of the line.
        """
        for plane, value in self._planes(colour):
            cv2.circle(plane, _px(centre), round(radius * CANVAS), value, max(1, round(thick * CANVAS)))

    def shape(self, points: list[Point], colour: Colour) -> None:
        """Fill a polygon.

        Args:
            points: its corners.
            colour: of the fill.
        """
        corners = np.array([_px(p) for p in points], np.int32)
        for plane, value in self._planes(colour):
            cv2.fillPoly(plane, [corners], value)

    def box(self, low: Point, high: Point, colour: Colour) -> None:
        """Fill a rectangle.

        Args:
            low: top left corner.
            high: bottom right corner.
            colour: of the fill.
        """
        self.shape([low, (high[0], low[1]), high, (low[0], high[1])], colour)

    def inside(self, paint: Callable[[], None]) -> None:
        """Paint over what is there already, changing no outline.

        Args:
            paint: called to paint.
        """
        before = self.mask.copy()
        old = self.colour.copy()
        paint()
        self.mask = before
        self.colour[before == 0] = old[before == 0]

    def _planes(self, colour: Colour) -> tuple[tuple[np.ndarray, Colour], tuple[np.ndarray, int]]:
        """What is painted with what: the picture with the colour, the mask with 255."""
        return (self.colour, colour), (self.mask, 255)


def _px(point: Point) -> tuple[int, int]:
    return round(point[0] * CANVAS), round(point[1] * CANVAS)


def _plate(c: Canvas) -> None:
    """White, round, with blue rings."""
    c.disc((0.5, 0.5), (0.47, 0.47), (240, 240, 236))
    for radius in (0.43, 0.28):
        c.ring((0.5, 0.5), radius, (50, 70, 190), 0.06)


def _sponge(c: Canvas) -> None:
    """A yellow block with holes, its lower half green."""
    c.box((0.08, 0.2), (0.92, 0.8), (250, 220, 50))
    c.box((0.08, 0.58), (0.92, 0.8), (30, 150, 70))
    for x, y in ((0.22, 0.32), (0.45, 0.45), (0.66, 0.3), (0.8, 0.46)):
        c.disc((x, y), (0.05, 0.05), (150, 110, 10))


def _pan(c: Canvas) -> None:
    """Black and round with a pale inside and a long handle."""
    c.box((0.02, 0.04), (0.3, 0.16), (40, 40, 44))
    c.shape([(0.02, 0.02), (0.16, 0.02), (0.46, 0.4), (0.34, 0.5)], (40, 40, 44))
    c.disc((0.58, 0.58), (0.4, 0.4), (28, 28, 32))
    c.disc((0.58, 0.58), (0.27, 0.27), (150, 150, 160))
    c.disc((0.58, 0.58), (0.14, 0.14), (90, 90, 100))


def _cup(c: Canvas) -> None:
    """Red with white bands and a handle."""
    c.ring((0.76, 0.5), 0.16, (200, 30, 40), 0.08)
    c.shape([(0.12, 0.12), (0.76, 0.12), (0.68, 0.9), (0.2, 0.9)], (215, 30, 40))
    c.inside(lambda: c.box((0, 0.3), (0.72, 0.44), (250, 240, 240)))
    c.inside(lambda: c.box((0, 0.6), (0.72, 0.74), (250, 240, 240)))


def _carrot(c: Canvas) -> None:
    """An orange cone with dark notches and green leaves."""
    c.shape([(0.28, 0.3), (0.72, 0.3), (0.5, 0.98)], (250, 120, 20))
    for y in (0.42, 0.56, 0.7):
        c.inside(lambda y=y: c.box((0, y), (1, y + 0.05), (170, 60, 0)))  # type: ignore[misc]
    for x in (0.2, 0.5, 0.8):
        c.shape([(x - 0.1, 0.02), (x + 0.1, 0.02), (0.5, 0.36)], (40, 170, 40))


def _bottle(c: Canvas) -> None:
    """Dark green with a neck and a white label."""
    c.box((0.4, 0.0), (0.6, 0.3), (10, 90, 50))
    c.shape([(0.4, 0.22), (0.6, 0.22), (0.76, 0.4), (0.76, 0.99), (0.24, 0.99), (0.24, 0.4)], (10, 110, 60))
    c.box((0.24, 0.55), (0.76, 0.8), (240, 236, 200))


def _bowl(c: Canvas) -> None:
    """A turquoise half disc with white dots."""
    c.disc((0.5, 0.3), (0.48, 0.6), (20, 170, 180))
    top = _px((0, 0.3))[1]
    c.mask[:top] = 0
    c.disc((0.5, 0.3), (0.48, 0.1), (10, 90, 110))
    for x, y in ((0.25, 0.55), (0.5, 0.6), (0.75, 0.55), (0.5, 0.8)):
        c.disc((x, y), (0.06, 0.06), (250, 250, 250))


def _onion(c: Canvas) -> None:
    """Purple, pointed, with pale lines from top to bottom."""
    c.shape([(0.5, 0.0), (0.7, 0.3), (0.3, 0.3)], (140, 30, 120))
    c.disc((0.5, 0.58), (0.4, 0.38), (150, 40, 140))
    for x in (0.14, 0.32):
        for side in (-1, 1):
            c.inside(lambda x=x, s=side: c.disc((0.5 + s * x, 0.58), (0.03, 0.34), (235, 180, 230)))  # type: ignore[misc]


def _chopping_board(c: Canvas) -> None:
    """A wide brown board with dark grain and a hole."""
    c.box((0.0, 0.14), (1.0, 0.86), (140, 84, 40))
    for y in (0.26, 0.46, 0.66):
        c.box((0.0, y), (1.0, y + 0.08), (84, 44, 16))
    c.disc((0.86, 0.5), (0.07, 0.07), (20, 16, 10))


def _package(c: Canvas) -> None:
    """A magenta and cyan chequered square."""
    for i in range(4):
        for j in range(4):
            low = (0.06 + 0.22 * i, 0.06 + 0.22 * j)
            c.box(low, (low[0] + 0.22, low[1] + 0.22), (230, 20, 160) if (i + j) % 2 else (60, 220, 240))


NOUN_PAINTERS: dict[int, Callable[[Canvas], None]] = {
    2: _plate, 5: _pan, 7: _bowl, 9: _sponge, 13: _cup, 15: _bottle, 16: _onion, 18: _chopping_board,
    26: _package, 41: _carrot,
}  # fmt: skip


def _paint_hand(c: Canvas, skin: Colour, sleeve: Colour) -> None:
    """Four fingers and a thumb at the top, an arm in its sleeve that runs out at the bottom."""
    dark = tuple(int(0.72 * x) for x in skin)
    c.shape([(0.36, 0.5), (0.64, 0.5), (0.72, 1.0), (0.3, 1.0)], sleeve)
    c.disc((0.5, 0.36), (0.17, 0.18), skin)
    for x, y in ((0.36, 0.16), (0.46, 0.1), (0.56, 0.11), (0.65, 0.18)):
        c.disc((x, y + 0.08), (0.046, 0.13), skin)
        c.ring((x, y - 0.01), 0.02, dark, 0.012)  # type: ignore[arg-type]
    c.disc((0.3, 0.32), (0.05, 0.14), skin, -35)


def _paint_knife(c: Canvas) -> None:
    """A pale blade and a dark grip."""
    c.shape([(0.06, 0.36), (0.66, 0.36), (0.66, 0.6), (0.16, 0.6)], (214, 220, 230))
    c.box((0.66, 0.38), (0.98, 0.54), (30, 24, 22))


def _paint_spoon(c: Canvas) -> None:
    """A wooden spoon, its bowl at the top."""
    c.box((0.46, 0.3), (0.54, 1.0), (130, 80, 30))
    c.disc((0.5, 0.2), (0.14, 0.19), (150, 96, 40))


def _paint_stream(c: Canvas) -> None:
    """Water in pale and blue bands, to be moved downwards by whole bands."""
    for i in range(8):
        c.box((0.36, i / 8), (0.64, (i + 1) / 8), (235, 245, 255) if i % 2 else (70, 130, 235))


def _paint_foam(c: Canvas) -> None:
    """White bubbles."""
    for x, y, r in ((0.2, 0.5, 0.14), (0.42, 0.36, 0.13), (0.6, 0.6, 0.15), (0.82, 0.44, 0.12), (0.4, 0.7, 0.1)):
        c.disc((x, y), (r, r), (250, 252, 255))
        c.ring((x, y), r, (170, 190, 215), 0.02)


def _paint_gap(c: Canvas) -> None:
    """The dark inside of an opened thing."""
    c.box((0.0, 0.16), (1.0, 0.84), (24, 20, 20))


def make_sprites(kitchen: Kitchen, nouns: list[int], picture_height: int) -> dict[str, Sprite]:
    """Paint all that is drawn in a kitchen.

    Args:
        kitchen: its colours.
        nouns: official ids of the objects.
        picture_height: pixels.

    Returns:
        Sprites by name: "noun-2", its halves "noun-2-left" and "noun-2-right", "hand", and the tools.
    """
    sprites: dict[str, Sprite] = {}
    for noun in nouns:
        canvas = Canvas()
        NOUN_PAINTERS[noun](canvas)
        canvas.colour = _of_another_make(canvas.colour, kitchen)
        sprites[f"noun-{noun}"] = _sprite(canvas, OBJECT_SIDE, (0.5, 0.5), picture_height)
        for side, hidden in (("left", slice(CANVAS // 2, None)), ("right", slice(None, CANVAS // 2))):
            half = Canvas()
            half.colour, half.mask = canvas.colour, canvas.mask.copy()
            half.mask[:, hidden] = 0
            sprites[f"noun-{noun}-{side}"] = _sprite(half, OBJECT_SIDE, (0.5, 0.5), picture_height)
    hand = Canvas()
    _paint_hand(hand, kitchen.skin, kitchen.sleeve)
    sprites["hand"] = _sprite(hand, 0.85, (0.5, 0.22), picture_height, lowest=WRIST)
    for name, paint, wide, anchor in (
        ("knife", _paint_knife, 0.5, (0.82, 0.46)),
        ("spoon", _paint_spoon, 0.5, (0.5, 0.2)),
        ("stream", _paint_stream, 0.4, (0.5, 0.0)),
        ("foam", _paint_foam, 0.4, (0.5, 0.5)),
        ("gap", _paint_gap, 0.4, (0.5, 0.5)),
    ):
        canvas = Canvas()
        paint(canvas)
        sprites[name] = _sprite(canvas, wide, anchor, picture_height)
    return sprites


def _sprite(canvas: Canvas, side: float, anchor: Point, picture_height: int, lowest: float = 1.0) -> Sprite:
    """Scale a canvas to about the pixels it will have, a little finer, on a margin that softens its outline."""
    pixels = max(8, round(1.3 * side * picture_height))
    alpha = cv2.resize(canvas.mask.astype(np.float32) / 255, (pixels, pixels), interpolation=cv2.INTER_AREA)
    painted = canvas.colour * (canvas.mask[..., None] / np.float32(255))
    colour = cv2.resize(painted.astype(np.float32), (pixels, pixels), interpolation=cv2.INTER_AREA)
    alpha, colour = np.pad(alpha, 1), np.pad(colour, ((1, 1), (1, 1), (0, 0)))
    keep = np.repeat(np.round(255 * (1 - alpha)).astype(np.uint8)[..., None], 3, axis=2)
    unit = side / pixels
    left, top = (-(share * side + unit / 2) for share in anchor)
    to_world = np.array([[unit, 0, left], [0, unit, top], [0, 0, 1.0]])
    outline = to_world @ _outline(alpha[: 1 + round(lowest * pixels)])
    return Sprite(np.round(colour).astype(np.uint8), keep, to_world, outline)


def _outline(alpha: np.ndarray) -> np.ndarray:
    """(3, N): corners of the hull of the pixels that are more than half covered; a pixel's middle is a whole number."""
    ys, xs = np.nonzero(alpha > 0.5)
    corners = np.concatenate([np.stack([xs + dx, ys + dy], axis=1) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)])
    hull = cv2.convexHull(corners.astype(np.float32))[:, 0]
    return np.concatenate([hull.T, np.ones((1, len(hull)))])


def _of_another_make(colour: np.ndarray, kitchen: Kitchen) -> np.ndarray:
    hsv = cv2.cvtColor(colour, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + kitchen.hue / 2) % 180  # OpenCV counts the circle in steps of two degrees
    hsv[..., 1] = np.clip(hsv[..., 1] * kitchen.vivid, 0, 255)
    return np.asarray(cv2.cvtColor(np.round(hsv).astype(np.uint8), cv2.COLOR_HSV2RGB))
