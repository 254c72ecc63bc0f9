"""Optical flow of whole videos, stored as one seekable file each (see `flow.file`).

The organisers computed flow at stride 2 for the 2018 videos (`PXX_YY`, 60 frames a second) and stride 1 for the 2020
ones (`PXX_1YY`, 50): a flow picture every 33 or 20 ms. Flow picture k starts from RGB frame k * stride. Here it is
measured to the frame right after that one, so that both kinds count pixels a frame. The organisers used TV-L1 over 3
frames clipped at 25 pixels for 2018 (readme of epic-kitchens/annotations), over 1 frame clipped at 8 for 2020 (readme
of epic-kitchens-100-annotations): about 8 pixels a frame in both, the default bound, so grey levels mean the same.
"""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter

from epicsub.data.decode.reader import open_reader
from epicsub.data.flow.file import flow_note, quantise, read_flow_note, write_flow
from epicsub.data.frames import index_stride
from epicsub.data.parallel import alone, cores, in_processes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.modality import FLOW, RGB
from epicsub.progress import track
from epicsub.text import counted

METHODS = ("dis", "tvl1")
SHORT_SIDE, BOUND = 256, 8.0
SHORT_END = 2  # frames that a video may lack at its end: the same tolerance as for reading it


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """Videos whose flow was made, videos whose flow was there, seconds taken."""

    made: int
    kept: int
    seconds: float


class Estimator(Protocol):
    """What OpenCV's flow algorithms have in common."""

    def calc(self, first: np.ndarray, second: np.ndarray, flow: None, /) -> np.ndarray:
        """(H, W) uint8 twice -> (H, W, 2) float32 pixels."""


def flow_stride(video_id: str) -> int:
    """RGB frames from one flow picture to the next, by the organisers' rule.

    Raises:
        DataError: the id is neither like P01_01 nor like P01_101.
    """
    if not re.fullmatch(r"P\d\d_1?\d\d", video_id):
        raise DataError(f"{video_id}: the flow stride goes by the video id, which must be like P01_01 or P01_101")
    return index_stride(video_id, FLOW.name)


def compute_flow(
    video_path: Path,
    flow_path: Path,
    video_id: str,
    *,
    short_side: int = SHORT_SIDE,
    bound: float = BOUND,
    method: str = "dis",
) -> int:
    """Compute the flow of one video and write it whole. Returns the number of flow pictures.

    Args:
        short_side: pixels of the short side at which flow is computed and stored; a smaller video stays as it is.
            The height is rounded to an even number.
        bound: pixels a frame, at the stored size, beyond which flow is cut off.
        method: "dis" (dense inverse search, Kroeger et al. 2016) or "tvl1" (Zach et al. 2007; OpenCV contrib).

    Raises:
        DataError: a setting is wrong; the video is missing, damaged or shorter than two frames.
    """
    check_settings(short_side, bound, method)
    stride = flow_stride(video_id)
    reader = open_reader(video_path, "pyav")  # complains about missing, empty and unreadable files
    stated_end = reader.duration - (SHORT_END + 1) / reader.fps
    size = flow_size(reader.width, reader.height, short_side)
    reader.close()
    estimator = make_estimator(method, min(size))
    note = flow_note(video_path, stride, short_side, bound, method)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # videos are computed side by side, one a core
    try:
        with av.open(str(video_path)) as container:
            time_base = container.streams.video[0].time_base
            assert time_base is not None  # the reader has complained already
            frames = _gray_frames(container, video_path, size, stated_end)
            pairs = islice(pairwise(frames), 0, None, stride)
            pictures = ((pts, quantise(estimator.calc(a, b, None), bound)) for (pts, a), (_, b) in pairs)
            return write_flow(flow_path, size, time_base, pictures, note)
    finally:
        cv2.setNumThreads(threads)


def flow_for_videos(
    root: Path,
    video_ids: Sequence[str],
    *,
    short_side: int = SHORT_SIDE,
    bound: float = BOUND,
    method: str = "dis",
    workers: int | None = None,
    overwrite: bool = False,
) -> FlowSummary:
    """Compute the flow of many videos of a data root, in processes; run again after a kill, it goes on.

    Flow that is whole and was made with the same settings from the same file is kept; damaged flow is made again.
    A video that fails does not keep the others from being done.

    Args:
        workers: processes, None for one a core.
        overwrite: make flow again where it was made with other settings, which is an error otherwise.

    Raises:
        DataError: wrong settings, a wrong video id, flow of other settings, or another process is at it, before
            anything is computed; or, when all other videos are done, every video that failed.
    """
    began = time.monotonic()
    check_settings(short_side, bound, method)
    make_estimator(method, short_side)
    data, ids = DataRoot(root), sorted(set(video_ids))
    problems: list[str | None] = []
    conflicts: list[str] = []
    jobs: list[Job] = []
    for video_id in ids:
        stride, source = flow_stride(video_id), data.video(video_id)
        if source is None:
            problems.append(f"{video_id}: no video (looked for {data.places(video_id, RGB.name)[0]})")
            continue
        target = data.computed(video_id, FLOW.name)
        wanted, there = flow_note(source, stride, short_side, bound, method), read_flow_note(target)
        if there == wanted:
            continue
        if there is not None and not overwrite:
            conflicts.append(f"{target}: {_differences(there, wanted)}")
        jobs.append(Job(source, target, video_id, short_side, bound, method))
    if conflicts:
        told = "\n".join(conflicts)
        raise DataError(f"there is flow that was made otherwise; delete it or ask for overwriting:\n{told}")
    kept = len(ids) - len(jobs) - len(problems)
    if jobs:
        folder = data.path / FLOW.video_folder
        with alone(folder):
            _remove_leftovers(folder)
            outcomes = in_processes(_try_one, jobs, workers or cores())
            problems += track(outcomes, "computing flow", len(jobs) + kept, kept)
    failed = sorted(problem for problem in problems if problem)
    if failed:
        told = "\n".join(failed)
        videos = counted(len(ids), "video", "videos")
        raise DataError(f"no flow for {len(failed)} of {videos}, the others are done:\n{told}")
    return FlowSummary(len(jobs), kept, time.monotonic() - began)


def flow_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and (even) height of the flow picture; never larger than the video."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(2, 2 * int(height * scale / 2 + 1e-6))


def make_estimator(method: str, short_side: int) -> Estimator:
    """OpenCV's estimator for pictures of this size.

    Raises:
        DataError: TV-L1 is asked for and OpenCV was built without it.
    """
    opencv: Any = cv2  # its type stubs lack both
    if method == "tvl1":
        create = getattr(getattr(opencv, "optflow", None), "DualTVL1OpticalFlow_create", None)
        if create is None:
            raise DataError(
                "flow method tvl1: this OpenCV has no TV-L1; install opencv-contrib-python-headless in place of "
                "opencv-python-headless, or use the method dis"
            )
        tvl1: Estimator = create()
        return tvl1
    dis = opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_FAST)
    # The preset stops at a quarter of the resolution. Measured on a 26 pixel patch that moves 4 pixels in a 96x72
    # picture: 1.0 pixel is found there, 3.8 at half the resolution, 4.0 at the full one.
    if short_side < 200:
        dis.setFinestScale(1 if short_side >= 48 else 0)
    estimator: Estimator = dis
    return estimator


def check_settings(short_side: int, bound: float, method: str) -> None:
    """Raise DataError with all that is wrong."""
    problems = [
        text
        for wrong, text in (
            (short_side < 16, f"short_side={short_side}: 16 pixels or more"),
            (not 0 < bound < float("inf"), f"bound={bound}: pixels, above 0"),
            (method not in METHODS, f"method={method}: there are {', '.join(METHODS)}"),
        )
        if wrong
    ]
    if problems:
        raise DataError("flow cannot be computed with these settings:\n" + "\n".join(problems))


def _gray_frames(
    container: InputContainer, path: Path, size: tuple[int, int], stated_end: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield timestamp and (H, W) uint8 of every frame; complain unless they reach `stated_end` seconds."""
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    reformatter = VideoReformatter()  # one for all frames: its tables take longer to make than a small frame
    count, pts = 0, 0
    try:
        for frame in container.decode(stream):
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None or frame.is_corrupt:
                raise DataError(f"{path}: frame {count} is damaged or has no timestamp; fetch the file again")
            gray = reformatter.reformat(frame, *size, format="gray", interpolation=Interpolation.AREA, threads=1)
            count, pts = count + 1, stamp
            yield pts, np.ascontiguousarray(gray.to_ndarray())
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: decoding fails after {counted(count, 'frame', 'frames')} ({error.strerror}): damaged"
        ) from None
    if count < 2:
        raise DataError(f"{path}: flow needs two frames, found {count}")
    assert stream.time_base is not None
    end = float((pts - (stream.start_time or 0)) * stream.time_base)
    if end < stated_end:
        raise DataError(f"{path}: ends at {end:.3f} s, long before its header says; cut off, fetch it again")


def _differences(there: dict[str, Any], wanted: dict[str, Any]) -> str:
    return ", ".join(f"{k} {there.get(k)} there, {wanted[k]} asked" for k in wanted if there.get(k) != wanted[k])


class Job(NamedTuple):
    """The arguments of `compute_flow` for one video."""

    source: Path
    target: Path
    video_id: str
    short_side: int
    bound: float
    method: str


def _try_one(job: Job) -> str | None:
    """None, or why there is no flow for this video."""
    try:
        compute_flow(
            job.source, job.target, job.video_id, short_side=job.short_side, bound=job.bound, method=job.method
        )
    except DataError as error:
        return f"{job.video_id}: {error}"
    return None


def _remove_leftovers(folder: Path) -> None:
    """A run that was killed leaves its temporary files behind."""
    for path in folder.glob("*/.P*.mp4"):
        path.unlink()
