"""How each kitchen looks: palette, worktop, light and camera. Numbers are relative to a plain, well-lit kitchen."""

from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from epicsub.synth.plan import SOURCE_PARTICIPANTS

WORLD_SIDE = 2.6  # the worktop is drawn this many picture heights wide and high, so that no camera sees its end
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kitchen:
    """One kitchen. Colours are RGB, lengths are in picture heights, angles in degrees."""

    worktop: Colour
    second: Colour
    texture: str  # plain, wood, speckle, tiles, stripes, marble
    skin: Colour = (224, 172, 140)
    sleeve: Colour = (60, 70, 90)
    light: float = 1.0  # gain of all channels
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # gain of each channel
    gradient: tuple[float, float] = (0.0, 0.0)  # light lost from left to right, from top to bottom
    hue: float = 0.0  # objects are of another make: degrees round the colour circle
    vivid: float = 1.0  # saturation of the objects
    zoom: float = 1.0
    tilt: float = 0.0  # rotation of the camera
    shear: float = 0.0
    height: float = 0.0  # the camera stands higher: everything lies lower in the picture
    shake: float = 0.004  # standard swing of the camera


KITCHENS = {
    "P01": Kitchen(worktop=(176, 140, 104), second=(150, 112, 78), texture="wood", light=1.05, gradient=(0.1, 0.0)),
    "P02": Kitchen(worktop=(196, 188, 174), second=(150, 144, 136), texture="speckle", skin=(190, 132, 98),
                   sleeve=(140, 50, 50), zoom=1.05, gradient=(-0.1, 0.1), shake=0.006),
    "P03": Kitchen(worktop=(160, 152, 132), second=(140, 132, 116), texture="plain", skin=(238, 190, 160),
                   sleeve=(70, 90, 60), zoom=0.97, tint=(1.04, 1.0, 0.95), height=0.02, tilt=3.0),
    "P04": Kitchen(worktop=(186, 160, 128), second=(160, 120, 90), texture="speckle", skin=(150, 102, 76),
                   sleeve=(90, 84, 76), light=0.95, hue=4.0, height=-0.02, tilt=-3.0),
    "P05": Kitchen(worktop=(122, 126, 128), second=(88, 92, 102), texture="tiles", skin=(206, 150, 118),
                   sleeve=(170, 170, 166), light=0.84, tint=(0.94, 0.99, 1.07), gradient=(0.25, 0.1), hue=5.0,
                   vivid=0.9, zoom=0.8, tilt=11.0, shear=0.16, height=0.08, shake=0.012),
    "P06": Kitchen(worktop=(112, 126, 120), second=(142, 156, 150), texture="marble", skin=(164, 112, 84),
                   sleeve=(44, 44, 52), light=0.86, tint=(0.93, 1.01, 1.05), gradient=(-0.25, 0.15), hue=-5.0,
                   vivid=0.88, zoom=0.82, tilt=-12.0, shear=-0.14, height=0.1, shake=0.014),
    "P07": Kitchen(worktop=(128, 124, 134), second=(104, 100, 116), texture="stripes", skin=(232, 184, 152),
                   sleeve=(120, 60, 110), light=0.85, tint=(0.95, 0.98, 1.06), gradient=(0.15, -0.2), hue=4.0,
                   vivid=0.9, zoom=0.78, tilt=10.0, shear=0.14, height=0.07, shake=0.013),
}  # fmt: skip
PLAIN = Kitchen(worktop=(180, 160, 135), second=(150, 127, 105), texture="speckle")


def kitchen_of(participant: str, shift: float) -> Kitchen:
    """The kitchen of a participant, moved away from PLAIN where it is a target's.

    Args:
        participant: `P01` to `P07`.
        shift: how far target kitchens are from PLAIN: 0 alike, 1 as in KITCHENS; source kitchens ignore it.

    Returns:
        The kitchen.
    """
    drawn = KITCHENS[participant]
    if participant in SOURCE_PARTICIPANTS:
        return drawn
    changes: dict[str, Any] = {}
    for field in fields(Kitchen):
        plain, value = getattr(PLAIN, field.name), getattr(drawn, field.name)
        if isinstance(value, tuple):
            moved = tuple(p + shift * (v - p) for p, v in zip(plain, value, strict=True))
            is_colour = field.name in ("worktop", "second", "skin", "sleeve")
            changes[field.name] = tuple(int(np.clip(x, 0, 255)) for x in moved) if is_colour else moved
        elif isinstance(value, float):
            changes[field.name] = plain + shift * (value - plain)
    changes["zoom"] = max(changes["zoom"], 0.3)
    changes["light"] = max(changes["light"], 0.15)
    return replace(drawn, **changes, texture=drawn.texture if shift > 0 else PLAIN.texture)


def paint_worktop(kitchen: Kitchen, pixels: int, clutter: int, random: np.random.Generator) -> np.ndarray:
    """The worktop from above, with clutter around but not in the middle.

    Args:
        kitchen: its colours and texture.
        pixels: side of the square.
        clutter: how many other things lie on it.
        random: draws the texture and the clutter.

    Returns:
        RGB picture, (pixels, pixels, 3) uint8.
    """
    picture = np.empty((pixels, pixels, 3), np.float32)
    picture[:] = kitchen.worktop
    strength = _texture(kitchen.texture, pixels, random)[..., None]
    picture += strength * (np.array(kitchen.second, np.float32) - picture)
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    for _ in range(clutter):
        _paint_clutter(picture, random)
    return picture


def light_map(kitchen: Kitchen, width: int, height: int) -> np.ndarray:
    """Gain of each pixel.

    Args:
        kitchen: its light, tint and gradient.
        width: pixels.
        height: pixels.

    Returns:
        (height, width, 3) uint8; 128 is a gain of one.
    """
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    fall = 1 - kitchen.gradient[0] * x - kitchen.gradient[1] * y
    gain = kitchen.light * np.array(kitchen.tint, np.float32) * fall
    return np.asarray(np.clip(np.round(gain * 128), 0, 255).astype(np.uint8))


def _texture(kind: str, pixels: int, random: np.random.Generator) -> np.ndarray:
    """(pixels, pixels) float32 from 0 (worktop) to 1 (second colour)."""
    y, x = np.mgrid[0:pixels, 0:pixels].astype(np.float32) / pixels * WORLD_SIDE
    grain = random.random((pixels, pixels), dtype=np.float32)
    match kind:
        case "wood":
            texture = 0.5 + 0.5 * np.sin(40 * y + 3 * np.sin(4 * x) + 2 * cv2.GaussianBlur(grain, (0, 0), 3))
        case "speckle":
            texture = np.clip((cv2.GaussianBlur(grain, (0, 0), 1.0) - 0.5) * 6, 0, 1)
        case "tiles":
            texture = ((x % 0.34 < 0.03) | (y % 0.34 < 0.03)).astype(np.float32)
        case "stripes":
            texture = 0.5 + 0.5 * np.sign(np.sin(26 * (x + 0.5 * y)))
        case "marble":
            waves = 7 * (x + y) + 60 * (cv2.GaussianBlur(grain, (0, 0), 6) - 0.5)
            texture = np.clip(np.abs(np.sin(waves)) ** 6, 0, 1)
        case _:
            texture = cv2.GaussianBlur(grain, (0, 0), 4)
    return np.asarray(texture)


def _paint_clutter(picture: np.ndarray, random: np.random.Generator) -> None:
    """One thing somewhere on the rim of what the camera sees."""
    pixels = picture.shape[0]
    unit = pixels / WORLD_SIDE
    angle = random.uniform(0, 2 * np.pi)
    far = random.uniform(0.48, 0.75)
    centre = (round(pixels / 2 + far * unit * np.cos(angle)), round(pixels / 2 + far * unit * np.sin(angle)))
    gray = random.uniform(70, 190)
    colour = tuple(int(c) for c in np.clip(gray + random.normal(0, 22, 3), 0, 255))  # duller than any object
    size = random.uniform(0.05, 0.12) * unit
    if random.random() < 0.5:
        cv2.circle(picture, centre, round(size), colour, -1, cv2.LINE_AA)
    else:
        box = cv2.boxPoints((centre, (2 * size, 1.2 * size), random.uniform(0, 180)))
        cv2.fillConvexPoly(picture, box.astype(np.int32), colour, cv2.LINE_AA)
