"""Writing a whole made-up data root: the tables, then the videos in parallel."""

import json
import multiprocessing
import os
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from epicsub.errors import DataError
from epicsub.io import write_text
from epicsub.progress import track
from epicsub.synth.plan import PlannedVideo, plan_videos
from epicsub.synth.render import write_video
from epicsub.synth.settings import SynthSettings
from epicsub.synth.tables import write_tables

SETTINGS_FILE = "synth.json"


@dataclass(frozen=True, slots=True)
class SynthSummary:
    """What is in the folder now: segments of each split, videos, how many of these were there before, seconds taken."""

    folder: Path
    segments: dict[str, int]
    videos: int
    kept: int
    seconds: float


def make_kitchens(folder: Path, settings: SynthSettings, workers: int | None = None) -> SynthSummary:
    """Write a data root in the organisers' layout; run again after a kill, it makes what is missing.

    `annotations/` and `videos/` are as the organisers publish them, plus `source_heldout.csv`: labelled segments of
    other videos of the source kitchens. `answers/` holds what no training code may read. workers: processes that draw
    videos, None for one a core.

    Raises:
        DataError: the folder holds something else, or kitchens made with other settings.
    """
    folder = Path(folder)
    began = time.monotonic()
    _claim(folder, settings)
    videos = plan_videos(settings)
    write_tables(folder, settings, videos)
    _remove_leftovers(folder / "videos")
    missing = [video for video in videos if not _video_path(folder, video).exists()]
    _draw(folder, settings, missing, len(videos), workers or os.cpu_count() or 1)
    segments = Counter(video.split for video in videos for _ in video.segments)
    return SynthSummary(folder, dict(segments), len(videos), len(videos) - len(missing), time.monotonic() - began)


def _claim(folder: Path, settings: SynthSettings) -> None:
    """Make the folder ours, or refuse it: real annotations are never written over."""
    note = folder / SETTINGS_FILE
    if note.is_file():
        try:
            there = json.loads(note.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{note} cannot be read ({error}): delete {folder} or choose another folder") from error
        different = settings.differences(there)
        if different:
            listed = "\n".join(f"  {line}" for line in different)
            raise DataError(
                f"{folder} holds kitchens made with other settings; delete it or choose another folder:\n{listed}"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty and has no {SETTINGS_FILE}: choose another folder")
    write_text(note, json.dumps(settings.as_dict(), indent=1) + "\n")


def _video_path(folder: Path, video: PlannedVideo) -> Path:
    return folder / "videos" / video.participant / f"{video.video_id}.MP4"


def _remove_leftovers(videos: Path) -> None:
    """A run that was killed leaves its temporary files behind."""
    for path in videos.glob("*/.P*.MP4"):
        path.unlink()


def _draw(folder: Path, settings: SynthSettings, videos: list[PlannedVideo], total: int, workers: int) -> None:
    """Draw videos here (one worker, or one video) or in processes. A video exists only when it is whole."""
    done = total - len(videos)
    if workers == 1 or len(videos) < 2:
        for video in track(videos, "drawing videos", total, done):
            write_video(video, settings, _video_path(folder, video))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks of whatever runs here
    with ProcessPoolExecutor(min(workers, len(videos)), mp_context=context) as pool:
        futures: list[Future[None]] = [
            pool.submit(write_video, video, settings, _video_path(folder, video)) for video in videos
        ]
        try:
            for future in track(as_completed(futures), "drawing videos", total, done):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
