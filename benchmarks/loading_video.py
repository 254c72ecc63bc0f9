"""The benchmark's video: a real kitchen clip, filmed by a head that moves, at 59.94 frames per second."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, RATE = 640, 360, Fraction(60000, 1001)
SCENE_SECONDS, SCENES = 46, 4  # one scene is drawn and encoded; the file holds it four times over
PICTURES = int(SCENE_SECONDS * RATE)  # of a scene
LASTS = float(SCENES * PICTURES / RATE)  # seconds, at least three minutes
MARGIN = 1.2  # the picture is drawn larger than it is seen, so that the camera can move


def make_video(path: Path, clip: Path) -> Path:
    """Write the video unless it is there.

    The clip's frames, forwards and backwards and blended to 59.94 per second, seen by a camera that turns and shifts at
    random, with a sensor's grain; x264's default settings (a keyframe every 250 frames, B-pictures).
    """
    if path.is_file():
        return path
    frames = clip_frames(clip)
    count, rng = PICTURES, np.random.default_rng(0)
    grain = [rng.normal(0, 3, (HEIGHT, WIDTH, 1)).astype(np.float32) for _ in range(16)]
    pushes = np.stack([np.convolve(rng.normal(0, 1, count + 19), np.ones(20) / 20, "valid") for _ in range(3)], axis=1)
    place = np.zeros(3)  # right, down (pixels) and degrees
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished.mp4")
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "medium", "crf": "23", "threads": "2"}
        packets = []
        for number in range(count):
            place = 0.98 * place + pushes[number] * (8, 6, 1)
            picture = seen(between(frames, number / 2), place) + grain[rng.integers(len(grain))]
            frame = av.VideoFrame.from_ndarray(np.clip(picture, 0, 255).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, 1 / RATE
            packets += stream.encode(frame)
        packets += stream.encode(None)
        stamps = [(packet.pts, packet.dts) for packet in packets]
        for scene in range(SCENES):
            for packet, (pts, dts) in zip(packets, stamps, strict=True):
                again = av.Packet(bytes(packet))
                again.stream, again.time_base, again.is_keyframe = stream, 1 / RATE, packet.is_keyframe
                again.pts, again.dts = pts + scene * count, dts + scene * count
                container.mux(again)
    unfinished.rename(path)
    return path


def clip_frames(clip: Path) -> list[np.ndarray]:
    """All frames of the clip, larger than the picture, as RGB."""
    size = (int(WIDTH * MARGIN), int(HEIGHT * MARGIN))
    with av.open(str(clip)) as container:
        decoded = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in decoded]


def between(frames: list[np.ndarray], place: float) -> np.ndarray:
    """The picture at a place in the clip run forwards and backwards; half a frame is a blend of two."""
    period = 2 * len(frames) - 2
    first, second = (int(place) % period, (int(place) + 1) % period)
    first, second = (number if number < len(frames) else period - number for number in (first, second))
    share = place - int(place)
    return cv2.addWeighted(frames[first], 1 - share, frames[second], share, 0) if share else frames[first]


def seen(picture: np.ndarray, place: np.ndarray) -> np.ndarray:
    """What the camera sees, (HEIGHT, WIDTH, 3)."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(place[2]), 1.0)
    turn[:, 2] += (WIDTH - width) / 2 + np.clip(place[0], -60, 60), (HEIGHT - height) / 2 + np.clip(place[1], -33, 33)
    return cv2.warpAffine(picture, turn, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
