"""Frames of a video file or of a camera of this machine, and answers to them a line per second."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.video.frame import VideoFrame

from epicsub.data.decode import last_time
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.reader import open_reader
from epicsub.data.flow.compute import flow_stride
from epicsub.errors import DataError, LiveError
from epicsub.live.classify import LiveModel
from epicsub.live.window import Window, needed_seconds

FAST = 55.0  # frames per second, from which every second frame has flow, as the organisers' 60 fps videos do

Timed = tuple[float, Callable[[], VideoFrame]]


class VideoSource:
    """A video file: its frames in order of time."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: of the video.

        Raises:
            DataError: it is missing, damaged or no video.
        """
        reader = open_reader(path, "pyav")
        assert isinstance(reader, PyavReader)
        self.reader, self.path = reader, path
        self.seconds, self.fps = reader.duration, reader.fps

    @property
    def flow_stride(self) -> int:
        """Frames from one flow picture to the next: as `epicsub data flow` has it, by the id or by the frame rate."""
        try:
            return flow_stride(self.path.stem)
        except DataError:
            return 2 if self.fps > FAST else 1

    def frames(self, start: float = 0.0, stop: float | None = None) -> Iterator[Timed]:
        """Read the frames of a part.

        Args:
            start: in seconds.
            stop: in seconds; None for the end.

        Yields:
            The time from which each is shown, and its picture.

        Raises:
            DataError: the video is damaged.
        """
        reader = self.reader
        last = last_time(reader.duration, reader.fps)
        first = min(max(start, reader.readable_from), last)
        for pts, _, frame in reader.frames_between(first, last if stop is None else min(stop, last)):
            yield float((pts - reader.start) * reader.tick), lambda frame=frame: frame  # type: ignore[misc]

    def close(self) -> None:
        """Close the file."""
        self.reader.close()


def camera_frames(number: int) -> Iterator[Timed]:
    """Read a camera of this machine as it goes.

    Args:
        number: of the camera, from 0.

    Yields:
        Seconds since the start, and the picture.

    Raises:
        LiveError: there is no such camera, or it gives no more pictures.
    """
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise LiveError(f"camera {number}: there is none, or another program has it; --camera 0 is the first")
    began = time.monotonic()
    try:
        while True:
            there, picture_HWC = camera.read()
            if not there:
                raise LiveError(
                    f"camera {number}: gives no more pictures: was it unplugged? Put it back, or choose another"
                )
            yield time.monotonic() - began, lambda taken=picture_HWC: _frame(taken)  # type: ignore[misc]
    finally:
        camera.release()


def watch(
    models: Sequence[LiveModel], frames: Iterator[Timed], flow_stride: int, every: float = 1.0
) -> Iterator[dict[str, Any]]:
    """Answer to frames as they come.

    Args:
        models: to ask.
        frames: of a source.
        flow_stride: of the source.
        every: seconds of the source between two answers.

    Yields:
        time, and per run its best verbs, nouns and actions with the milliseconds that they took.

    Raises:
        EpicsubError: the source fails.
    """
    window = Window(needed_seconds([model.cut for model in models]), flow_stride)
    due = 0.0
    for at, decode in frames:
        window.add(at, decode)
        if at < due:
            continue
        runs = {}
        for model in models:
            if (stop := window.end(model.cut)) is not None:
                answer = model.answer(window, stop)
                runs[model.name] = model.best(answer.verbs, answer.nouns) | {
                    "clip": [round(answer.start, 3), round(answer.stop, 3)],
                    "ms": round(1000 * answer.seconds, 1),
                }
        if runs:
            yield {"time": round(at, 3), "frames": window.count, "runs": runs}
            due = at + every


def watch_video(models: Sequence[LiveModel], path: Path) -> Iterator[dict[str, Any]]:
    """Answer to a video file, a line per second of it, as fast as this machine can.

    Args:
        models: to ask.
        path: of the video.

    Yields:
        As `watch`.

    Raises:
        DataError: the file is missing, damaged or no video.
    """
    source = VideoSource(path)
    with closing(source):
        yield from watch(models, source.frames(), source.flow_stride)


def show_in_window(models: Sequence[LiveModel], frames: Iterator[Timed], flow_stride: int, paced: bool) -> None:
    """Show answers over the picture in a window of OpenCV, until a key is pressed.

    Args:
        models: to ask.
        frames: of a source.
        flow_stride: of the source.
        paced: wait for each frame's time, as a file needs and a camera does not.

    Raises:
        LiveError: this OpenCV was built without windows, or there is no screen.
        EpicsubError: the source fails.
    """
    newest: list[np.ndarray] = []
    began = time.monotonic()

    def seen() -> Iterator[Timed]:
        for at, decode in frames:
            if paced:
                time.sleep(max(0.0, at - (time.monotonic() - began)))
            newest[:] = [decode().to_ndarray(format="bgr24")]
            yield at, decode

    try:
        cv2.namedWindow("epicsub live")
        for line in watch(models, seen(), flow_stride, every=0.0):
            shown = np.ascontiguousarray(newest[0])
            for row, (name, best) in enumerate(line["runs"].items()):
                first = best["actions"][0]
                words = f"{name}: {first['name']} {first['p']:.2f}"
                cv2.putText(shown, words, (8, 24 + 24 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 2)
            cv2.imshow("epicsub live", shown)
            if cv2.waitKey(1) != -1:
                break
        cv2.destroyAllWindows()
    except cv2.error as error:
        raise LiveError(
            "this OpenCV has no windows (the headless build, or no screen): --headless prints lines of JSON, and "
            "without --video and --camera there is a page for the browser"
        ) from error


def _frame(picture_HWC: np.ndarray) -> VideoFrame:
    return VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="bgr24")
