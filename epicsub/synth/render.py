"""The frames of one planned video, and the file they are written to."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from epicsub.io import atomic_write
from epicsub.synth.kitchens import WORLD_SIDE, light_map, paint_worktop
from epicsub.synth.plan import PlannedVideo, SynthSettings, random_stream
from epicsub.synth.scenes import Scenes
from epicsub.synth.sprites import Sprite

KEYFRAME_EVERY = 12  # frames: reading a clip in the middle of a video costs little
NOISE_PICTURES = 8


def write_video(plan: PlannedVideo, settings: SynthSettings, path: Path) -> None:
    """Draw a video and write it whole: H.264, yuv420p, keyframes every KEYFRAME_EVERY frames.

    Args:
        plan: the video.
        settings: of the kitchens.
        path: the .MP4.
    """
    cv2.setNumThreads(1)
    with atomic_write(path) as temporary, av.open(str(temporary), "w") as container:
        container.metadata["comment"] = json.dumps({"epicsub_synth": settings.of_pictures()}, sort_keys=True)
        options = {"preset": "ultrafast", "crf": str(settings.crf), "threads": "1", "g": str(KEYFRAME_EVERY)}
        stream = container.add_stream("libx264", rate=plan.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
        stream.thread_count = 1
        for picture in draw_frames(plan, settings):
            yuv = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(yuv, format="yuv420p")))
        container.mux(stream.encode(None))


def draw_frames(plan: PlannedVideo, settings: SynthSettings, only: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """Draw the frames of a video.

    Args:
        plan: the video.
        settings: of the kitchens.
        only: numbers from 0 of the frames to draw; None draws all of the video, in order.

    Yields:
        RGB pictures, (height, width, 3) uint8.
    """
    scenes = Scenes(plan, settings)
    kitchen = scenes.kitchen
    random = random_stream(settings, plan.video_id, "look")
    unit = 1.1 * settings.height  # worktop pixels a picture height
    worktop = paint_worktop(kitchen, round(WORLD_SIDE * unit), settings.clutter, random)
    light = light_map(kitchen, settings.width, settings.height)
    shape = (settings.height, settings.width, 3)
    noise = [np.round(random.normal(0, settings.noise, shape)).astype(np.int16) for _ in range(NOISE_PICTURES)]
    worktop_to_world = np.array([[1 / unit, 0, -WORLD_SIDE / 2], [0, 1 / unit, -WORLD_SIDE / 2], [0, 0, 1]])
    for index in range(plan.frames) if only is None else only:
        scene = scenes.at(float(index / plan.fps))
        frame = cv2.warpAffine(
            worktop, (scene.camera @ worktop_to_world)[:2], (shape[1], shape[0]), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        for seen in scene.layers:
            _blend(frame, seen.sprite, seen.matrix)
        cv2.multiply(frame, light, frame, 1 / 128)
        yield cv2.add(frame, noise[(7 * index) % NOISE_PICTURES], dtype=cv2.CV_8U) if settings.noise else frame


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
