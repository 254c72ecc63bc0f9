"""Optical flow of whole videos, stored as one seekable file each (see `flow.file`).

The organisers computed flow at stride 2 for the 2018 videos (`PXX_YY`, 60 frames per second) and stride 1 for the 2020
ones (`PXX_1YY`, 50): a flow picture every 33 or 20 ms. Flow picture k starts from RGB frame k * stride. Here it is
measured to the frame right after that one, so that both kinds count pixels per frame. The organisers used TV-L1 over 3
frames clipped at 25 pixels for 2018 (readme of epic-kitchens/annotations), over 1 frame clipped at 8 for 2020 (readme
of epic-kitchens-100-annotations): about 8 pixels per frame in both, the default bound, so gray levels mean the same.
"""

import errno
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from epicsub.data.decode import last_time
from epicsub.data.decode.pyav import PyavReader
from epicsub.data.decode.reader import open_reader
from epicsub.data.flow import FlowSettings, flow_note, quantise, read_flow_note, write_flow
from epicsub.data.frames import index_stride
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io import hold_folder, remove_leftovers
from epicsub.io.files import check_readable, os_reason
from epicsub.io.shards import Shard, missing_shards, refuse_missing
from epicsub.modality import FLOW, RGB
from epicsub.progress import cores, in_processes, track
from epicsub.text import counted

_Estimator = Callable[[np.ndarray, np.ndarray, None], np.ndarray]  # (H, W) uint8 twice -> (H, W, 2) pixels
DEFAULTS = FlowSettings()


class FlowSummary(NamedTuple):
    """Outcome of `flow_for_videos`."""

    computed: int
    kept: int
    seconds: float


class _Job(NamedTuple):
    """Arguments of `compute_flow`."""

    source: Path
    target: Path
    video_id: str
    settings: FlowSettings


def flow_for_videos(
    root: DataRoot,
    video_ids: Iterable[str],
    settings: FlowSettings = DEFAULTS,
    workers: int | None = None,
    overwrite: bool = False,
    shard: Shard | None = None,
    merge: int | None = None,
) -> FlowSummary:
    """Compute the flow of many videos in processes; run again after a kill, it resumes.

    Complete flow of the same file with the same settings is kept, damaged flow is replaced. A video that fails does
    not keep the others from being done.

    Args:
        root: data root.
        video_ids: ids in any order.
        settings: how flow is computed.
        workers: processes, None for one per core.
        overwrite: replace flow that was computed with other settings, which is an error otherwise.
        shard: compute this share of the videos alone.
        merge: compute nothing, and check that so many shares are done.

    Returns:
        Number of videos computed and of videos kept, seconds taken.

    Raises:
        DataError: before anything is computed: a wrong video id, flow of other settings, or another process at work;
            or, when all other videos are done, every video that failed.
    """
    began = time.monotonic()
    _make_estimator(settings.method, settings.short_side)
    every = sorted(set(video_ids))
    ids = every if shard is None else shard.share(every)
    problems: list[str | None] = []
    conflicts: list[str] = []
    jobs: list[_Job] = []
    for video_id in ids:
        stride, source = flow_stride(video_id), root.video(video_id)
        if source is None:
            problems.append(f"{video_id}: no video ({root.looked_for(video_id, RGB.name)})")
            continue
        try:
            check_readable(source)
        except DataError as error:
            problems.append(f"{video_id}: {error}")
            continue
        target = root.computed(video_id, FLOW.name)
        asked, there = flow_note(source, stride, settings), read_flow_note(target)
        if there == asked:
            continue
        if there is not None and not overwrite:
            differing = [f"{k} {there.get(k)} there, {asked[k]} asked" for k in asked if there.get(k) != asked[k]]
            conflicts.append(f"{target}: {', '.join(differing)}")
        jobs.append(_Job(source, target, video_id, settings))
    if conflicts:
        raise DataError("\n".join(["there is flow of other settings; delete it or ask for overwriting:", *conflicts]))
    kept = len(ids) - len(jobs) - len(problems)
    if merge is not None:
        undone = [job.video_id for job in jobs]
        refuse_missing(missing_shards(every, undone, merge), merge, str(root.path / FLOW.video_folder))
    if jobs:
        folder = root.path / FLOW.video_folder
        own = {job.video_id for job in jobs}
        with hold_folder(folder, "" if shard is None else f"{shard.number}-of-{shard.of}"):
            left = [p for p in folder.glob("*/.*") if shard is None or p.name.lstrip(".").partition(".")[0] in own]
            remove_leftovers(left, ".mp4")
            with closing(in_processes(_try_one, jobs, workers or cores())) as outcomes:
                problems += track(outcomes, "computing flow", len(jobs) + kept, kept)
    failed = sorted(problem for problem in problems if problem)
    if failed:
        videos = counted(len(ids), "video", "videos")
        raise DataError(
            "\n".join(
                [f"no flow for {len(failed)} of {videos}, the others are done; mend these and run it again:", *failed]
            )
        )
    return FlowSummary(len(jobs), kept, time.monotonic() - began)


def compute_flow(source: Path, target: Path, video_id: str, settings: FlowSettings = DEFAULTS) -> int:
    """Compute the flow of one video; the file is written whole or not at all.

    Args:
        source: video file.
        target: flow file.
        video_id: which decides the stride.
        settings: how flow is computed.

    Returns:
        Number of flow pictures.

    Raises:
        DataError: the video is missing, damaged or shorter than two frames; or OpenCV lacks the method.
    """
    stride = flow_stride(video_id)
    reader = open_reader(source, "pyav")  # the reader of rgb, so that flow is of the pictures that rgb shows
    assert isinstance(reader, PyavReader)
    maker = FlowMaker(reader.width, reader.height, settings)
    size = maker.size
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # videos are computed side by side, one per core
    try:
        pairs = islice(pairwise(_gray_frames(reader, maker)), 0, None, stride)
        pictures = ((pts, maker.between(a, b)) for (pts, a), (_, b) in pairs)
        start = reader.start * reader.tick
        return write_flow(target, size, reader.tick, pictures, flow_note(source, stride, settings), start)
    finally:
        reader.close()
        cv2.setNumThreads(threads)


def flow_stride(video_id: str) -> int:
    """RGB frames from one flow picture to the next, by the organisers' rule.

    Args:
        video_id: like P01_01 (2018) or P01_101 (2020).

    Returns:
        2 or 1.

    Raises:
        DataError: the id is like neither.
    """
    if not re.fullmatch(r"P\d\d_1?\d\d", video_id):
        raise DataError(f"{video_id}: the flow stride goes by the video id, which must be like P01_01 or P01_101")
    return index_stride(video_id, FLOW.name)


def _flow_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """Width and (even) height of the flow picture; never larger than the video."""
    scale = min(1.0, short_side / min(width, height))
    return max(1, round(width * scale)), max(2, 2 * int(height * scale / 2 + 1e-6))


class FlowMaker:
    """Makes flow pictures of frames of one size, for a file or live. Not shared between threads."""

    def __init__(self, width: int, height: int, settings: FlowSettings = DEFAULTS) -> None:
        """Choose the size and the method.

        Args:
            width: of the frames, pixels.
            height: of the frames, pixels.
            settings: how flow is computed.

        Raises:
            DataError: OpenCV lacks the method.
        """
        self.size = _flow_size(width, height, settings.short_side)
        self._bound = settings.bound
        self._estimate = _make_estimator(settings.method, min(self.size))
        self._reformatter = VideoReformatter()  # one for all frames: its tables take longer to make than a small frame

    def gray(self, frame: VideoFrame) -> np.ndarray:
        """Reduce a frame to what flow is computed from.

        Args:
            frame: as decoded.

        Returns:
            uint8 (H, W) of `size`.
        """
        gray = self._reformatter.reformat(frame, *self.size, format="gray", interpolation=Interpolation.AREA, threads=1)
        return np.ascontiguousarray(gray.to_ndarray())

    def between(self, first_HW: np.ndarray, second_HW: np.ndarray) -> np.ndarray:
        """Compute the flow from one frame to the next.

        Args:
            first_HW: of `gray`.
            second_HW: of `gray`.

        Returns:
            uint8 (H, W, 2), see `quantise`.
        """
        return quantise(self._estimate(first_HW, second_HW, None), self._bound)


def _gray_frames(reader: PyavReader, maker: FlowMaker) -> Iterator[tuple[int, np.ndarray]]:
    """Yield timestamp and (H, W) uint8 of every frame."""
    count = 0
    last = last_time(reader.duration, reader.fps)
    for pts, _, frame in reader.frames_between(min(reader.readable_from, last), last):
        yield pts, maker.gray(frame)
        count += 1
    if count < 2:
        raise DataError(f"{reader.path}: flow needs two frames, found {count}")


def _make_estimator(method: str, short_side: int) -> _Estimator:
    """OpenCV's function for pictures of this size.

    Raises:
        DataError: TV-L1 is asked for and OpenCV was built without it.
    """
    opencv: Any = cv2  # its type stubs lack both
    if method == "tvl1":
        create = getattr(getattr(opencv, "optflow", None), "DualTVL1OpticalFlow_create", None)
        if create is None:
            raise DataError(
                "--method tvl1: this OpenCV has no TV-L1; install opencv-contrib-python-headless in place of "
                "opencv-python-headless, or use the method dis"
            )
        tvl1: _Estimator = create().calc
        return tvl1
    dis = opencv.DISOpticalFlow_create(opencv.DISOPTICAL_FLOW_PRESET_FAST)
    # The preset stops at a quarter of the resolution. Measured on a 26 pixel patch that moves 4 pixels in a 96x72
    # picture: 1.0 pixel is found there, 3.8 at half the resolution, 4.0 at the full one.
    if short_side < 200:
        dis.setFinestScale(1 if short_side >= 48 else 0)
    estimate: _Estimator = dis.calc
    return estimate


def _try_one(job: _Job) -> str | None:
    """None, or why there is no flow for this video."""
    try:
        compute_flow(*job)
    except DataError as error:
        return f"{job.video_id}: {error}"
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the next video has no room either
        return f"{job.video_id}: {error.filename or job.target}: {os_reason(error)}"
    return None
