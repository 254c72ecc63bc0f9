"""Hands by MediaPipe, for videos without official boxes: boxes of hands alone, whose contact is unknown.

MediaPipe finds 21 joints of each hand; the box goes around them and a little beyond, where the skin ends. It names
sides as in a mirror, for pictures of a front camera: here they are exchanged. Its models are not in its newer wheels,
and the older ones that have them do not load beside numpy 2: they are read from a file that the user names.
"""

import io
import os
import time
import zipfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from epicsub.data.boxes.convert import BoxesSummary, refuse_failed, run_jobs
from epicsub.data.boxes.detections import LEFT, RIGHT, UNKNOWN_STATE, ArraysBuilder, FrameDetections, Hand
from epicsub.data.boxes.store import Note, boxes_path, read_note, write_boxes
from epicsub.data.decode import last_time
from epicsub.data.decode.reader import open_reader
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import sha256
from epicsub.io.files import check_readable
from epicsub.modality import RGB

MEDIAPIPE = "mediapipe"
MARGIN = 0.15
"""Of the joints' width and height, added on each side: joints lie inside the hand."""
MOST_HANDS = 2
PICTURES_PER_SECOND = 15.0
CHUNK = 32  # frames decoded at once
_PARTS = {"hand_detector.tflite": "palm_detection_full.tflite",
          "hand_landmarks_detector.tflite": "hand_landmark_full.tflite"}  # fmt: skip
_GET_MODELS = (
    "the models are in hand_landmarker.task of ai.google.dev/edge/mediapipe (Hand landmarker), or in MediaPipe's older "
    "wheels: pip download --no-deps --only-binary :all: --python-version 3.11 mediapipe==0.10.21"
)


class _Job(NamedTuple):
    video: Path
    target: Path
    models: bytes
    rate: float
    source: dict[str, Any]


def find_hands(
    root: DataRoot,
    models: Path | None,
    rate: float = PICTURES_PER_SECOND,
    workers: int | None = None,
    overwrite: bool = False,
) -> BoxesSummary:
    """Find the hands in all videos that have no boxes; run again after a kill, it resumes.

    Args:
        root: the data root; boxes/ is written there. Boxes of another detector are kept.
        models: hand_landmarker.task, or a wheel of MediaPipe that holds the models.
        rate: pictures looked at per second of video.
        workers: processes, None for one per core.
        overwrite: look again where hands were found with other models or another rate, which is an error otherwise.

    Returns:
        Number of videos done and kept, seconds taken, and a line a video: how many frames have a hand.

    Raises:
        DataError: MediaPipe or its models are not there, there is no video, or hands of other settings are; or, when
            all others are done, every video that failed.
    """
    began = time.monotonic()
    content, source = read_models(models), {"package": _version()}
    source["models"] = sha256(models) if models else ""
    jobs, kept, conflicts = [], 0, []
    videos = root.video_ids()
    if not videos:
        raise DataError(f"{root.path / RGB.video_folder}: no videos such as P01/P01_01.MP4 to find hands in")
    for video_id in videos:
        video, target = root.video(video_id), boxes_path(root.path, video_id)
        assert video is not None
        made_of = source | {"name": video.name, "bytes": video.stat().st_size}
        note = read_note(target)
        if note is not None and (note.detector != MEDIAPIPE or (dict(note.source), note.rate) == (made_of, rate)):
            kept += 1
            continue
        if note is not None and not overwrite:
            conflicts.append(f"{target}: {note.rate:g} pictures a second of {note.source}")
        jobs.append(_Job(video, target, content, rate, made_of))
    if conflicts:
        raise DataError("\n".join(["there are hands of other settings; ask for --overwrite:", *conflicts]))
    outcomes = run_jobs(root, _try_one, jobs, kept, workers, "finding hands")
    refuse_failed([problem for problem, _ in outcomes if problem], len(videos))
    return BoxesSummary(len(jobs), kept, time.monotonic() - began, [note for _, note in outcomes])


def read_models(path: Path | None) -> bytes:
    """Read MediaPipe's models of palms and hands.

    Args:
        path: hand_landmarker.task, or a wheel.

    Returns:
        The content of a hand_landmarker.task.

    Raises:
        DataError: none is named, or it cannot be read or holds no such models.
    """
    if path is None:
        raise DataError(f"--detector mediapipe needs --hand-models FILE: {_GET_MODELS}")
    check_readable(path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2]: name for name in archive.namelist()}
            if set(_PARTS) <= set(names):
                return path.read_bytes()
            lacks = [old for old in _PARTS.values() if old not in names]
            if lacks:
                raise DataError(f"{path}: holds no {' and no '.join(lacks)}; {_GET_MODELS}")
            made = io.BytesIO()
            with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as task:
                for name, old in _PARTS.items():
                    task.writestr(name, archive.read(names[old]))
            return made.getvalue()
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"{path}: is no whole hand_landmarker.task or wheel; {_GET_MODELS}") from error


def _version() -> str:
    os.environ.setdefault("GLOG_minloglevel", "2")  # its notes on every graph it builds
    try:
        import mediapipe  # an extra, which alone takes a second to import
    except ImportError as error:
        raise DataError(
            "--detector mediapipe: MediaPipe is not installed here; install it with pip install 'epicsub[hands]'"
        ) from error
    return f"mediapipe {mediapipe.__version__}"


def _try_one(job: _Job) -> tuple[str, str]:
    """Problem and note of one video."""
    try:
        return "", _detect(job)
    except DataError as error:
        return str(error) if str(error).startswith(str(job.video)) else f"{job.video}: {error}", ""


def _detect(job: _Job) -> str:
    builder, began, with_hand = ArraysBuilder(), time.perf_counter(), 0
    reader = open_reader(job.video, "pyav")
    try:
        for frame in _frames(reader, job):
            builder.add(frame)
            with_hand += bool(frame.hands)
        width, height = reader.width, reader.height
    finally:
        reader.close()
    note = Note(detector=MEDIAPIPE, source=job.source, rate=job.rate, width=width, height=height)
    write_boxes(job.target, builder.finish(), note)
    count = builder.frames
    each = 1000 * (time.perf_counter() - began) / count
    return f"{job.video}: {100 * with_hand / count:.1f} % of {count} pictures have a hand, {each:.0f} ms a picture"


def _frames(reader: Any, job: _Job) -> Iterator[FrameDetections]:
    import mediapipe  # an extra; imported where it is used, in the process of the worker
    from mediapipe.tasks.python import vision  # likewise
    from mediapipe.tasks.python.core.base_options import BaseOptions  # likewise

    options = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=job.models),
        running_mode=vision.RunningMode.VIDEO,
        num_hands=MOST_HANDS,
    )
    times = np.arange(max(1, ceil(reader.duration * job.rate))) / job.rate
    with vision.HandLandmarker.create_from_options(options) as landmarker:
        for begin in range(0, len(times), CHUNK):
            part = np.minimum(times[begin : begin + CHUNK], last_time(reader.duration, reader.fps))
            for place, picture_HWC in enumerate(reader.frames_at(part).numpy(), start=begin):
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture_HWC))
                yield _hands_of(landmarker.detect_for_video(image, round(1000 * place / job.rate)))


def _hands_of(result: Any) -> FrameDetections:
    hands = []
    for joints, names in zip(result.hand_landmarks, result.handedness, strict=True):
        points = np.array([(joint.x, joint.y) for joint in joints])
        low, high = points.min(axis=0), points.max(axis=0)
        margin = MARGIN * (high - low)
        (left, top), (right, bottom) = np.clip(low - margin, 0, 1), np.clip(high + margin, 0, 1)
        side = LEFT if names[0].category_name == "Right" else RIGHT
        corners = (float(left), float(top), float(right), float(bottom))
        hands.append(Hand(corners, float(names[0].score), UNKNOWN_STATE, (0.0, 0.0), side))
    return FrameDetections(hands, [])
