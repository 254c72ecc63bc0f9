"""Writing a whole synthetic data root: the tables, then the videos in parallel."""

import json
import os
import time
from collections import Counter
from contextlib import closing
from fractions import Fraction
from functools import partial
from math import floor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.boxes.convert import SOURCE_FOLDER
from epicsub.errors import DataError
from epicsub.io import remove_leftovers, user_path, write_text
from epicsub.progress import in_processes, track
from epicsub.synth.boxes import box_path, write_official_boxes
from epicsub.synth.plan import (
    NOUNS,
    OUTSIDE_VERBS,
    UNSEEN_TEST,
    UNSEEN_VALIDATION,
    VERBS,
    PlannedVideo,
    SynthSettings,
    class_shares,
    plan_videos,
    random_stream,
)
from epicsub.synth.render import write_video

TEST_COLUMNS = [
    "narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp",
    "start_frame", "stop_frame",
]  # fmt: skip
LABEL_COLUMNS = ["narration", "verb", "verb_class", "noun", "noun_class", "all_nouns", "all_noun_classes"]
TAIL_SHARE = 0.2  # the tail classes hold together about a fifth of the training segments, as the organisers' do
EMPTY_TIMESTAMPS = 0.01
SECOND_NOUN = 0.16


def write_tables(folder: Path, settings: SynthSettings, videos: list[PlannedVideo]) -> None:
    """Write `annotations/` and `answers/`.

    Args:
        folder: the data root.
        settings: of the kitchens.
        videos: all of them.
    """
    lists = {split: _segments(settings, videos, split) for split in ("train", "heldout", "validation", "test")}
    labelled = [*TEST_COLUMNS, *LABEL_COLUMNS]
    tables = {
        "annotations/EPIC_100_train.csv": lists["train"][labelled],
        "annotations/source_heldout.csv": lists["heldout"][labelled],
        "annotations/EPIC_100_validation.csv": lists["validation"][labelled],
        "annotations/EPIC_100_test_timestamps.csv": lists["test"][TEST_COLUMNS],
        "annotations/EPIC_100_video_info.csv": _video_info(settings, videos),
        "annotations/EPIC_100_verb_classes.csv": _classes("verb", NUM_VERBS, VERBS | OUTSIDE_VERBS),
        "annotations/EPIC_100_noun_classes.csv": _classes("noun", NUM_NOUNS, NOUNS),
        "annotations/EPIC_100_tail_verbs.csv": _tail("verb", settings.verb_ids, NUM_VERBS, settings.imbalance),
        "annotations/EPIC_100_tail_nouns.csv": _tail("noun", settings.noun_ids, NUM_NOUNS, settings.imbalance),
        "annotations/EPIC_100_unseen_participant_ids_validation.csv": _participants(UNSEEN_VALIDATION),
        "annotations/EPIC_100_unseen_participant_ids_test.csv": _participants(UNSEEN_TEST),
        "answers/test_labels.csv": lists["test"][["narration_id", "participant_id", "verb_class", "noun_class"]],
        "answers/outliers.csv": _outliers(videos),
    }
    for name, table in tables.items():
        write_text(folder / name, table.to_csv(index=False, lineterminator="\n"))


def frame_of(seconds: float, video_id: str) -> int:
    """The organisers' frame column: floor(t * 60) for PXX_YY, floor(t * 50) for PXX_1YY, never below 1.

    Args:
        seconds: from the video's start.
        video_id: its form tells the year, and so the rate.

    Returns:
        Frame number, from 1.
    """
    rate = 50 if len(video_id) == len("P01_101") else 60
    return max(1, floor(Fraction(f"{seconds:.2f}") * rate))


def clock_time(seconds: float, decimals: int) -> str:
    """Seconds as the organisers write them.

    Args:
        seconds: from the video's start.
        decimals: digits after the point.

    Returns:
        HH:MM:SS.ff.
    """
    minutes, rest = divmod(round(seconds * 10**decimals), 60 * 10**decimals)
    whole, fraction = divmod(rest, 10**decimals)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{whole:02d}.{fraction:0{decimals}d}"


def _segments(settings: SynthSettings, videos: list[PlannedVideo], split: str) -> pd.DataFrame:
    rows = []
    for video in (v for v in videos if v.split == split):
        random = random_stream(settings, video.video_id, "narration")
        for segment in video.segments:
            verb, noun = (VERBS | OUTSIDE_VERBS)[segment.verb], NOUNS[segment.noun]
            spoken = max(0.0, segment.start + float(random.uniform(-0.4, 0.3)))
            untold = split != "test" and random.random() < EMPTY_TIMESTAMPS
            nouns = [segment.noun]
            if random.random() < SECOND_NOUN:
                others = [n for n in settings.noun_ids if n != segment.noun]
                nouns.append(others[int(random.integers(len(others)))])
            rows.append({
                "narration_id": segment.narration_id,
                "participant_id": video.participant,
                "video_id": video.video_id,
                "narration_timestamp": "" if untold else clock_time(spoken, 3),
                "start_timestamp": clock_time(segment.start, 2),
                "stop_timestamp": clock_time(segment.stop, 2),
                "start_frame": frame_of(segment.start, video.video_id),
                "stop_frame": frame_of(segment.stop, video.video_id),
                "narration": f"{verb} {_spoken(noun)}",
                "verb": verb,
                "verb_class": segment.verb,
                "noun": noun,
                "noun_class": segment.noun,
                "all_nouns": str([NOUNS[n] for n in nouns]),
                "all_noun_classes": str(nouns),
            })  # fmt: skip
    return pd.DataFrame(rows).sort_values("narration_id")  # as text: _0, _1, _10, _11, _2


def _spoken(key: str) -> str:
    """board:chopping is said "chopping board"."""
    return " ".join(reversed(key.split(":")))


def _video_info(settings: SynthSettings, videos: list[PlannedVideo]) -> pd.DataFrame:
    rows = [
        {
            "video_id": video.video_id,
            "duration": float(video.frames / video.fps),
            "fps": float(video.fps),
            "resolution": f"{settings.width}x{settings.height}",
        }
        for video in videos
    ]
    return pd.DataFrame(rows).sort_values("video_id")


def _classes(kind: str, count: int, drawn: dict[int, str]) -> pd.DataFrame:
    keys = [drawn.get(i, f"{kind}-{i}") for i in range(count)]
    return pd.DataFrame({
        "id": np.arange(count),
        "key": keys,
        "instances": [str([key]) for key in keys],
        "category": ["drawn" if i in drawn else "not drawn" for i in range(count)],
    })  # fmt: skip


def _tail(kind: str, ids: list[int], count: int, ratio: float) -> pd.DataFrame:
    """All classes but the most common ones, which hold together 1 - TAIL_SHARE of the training segments or more."""
    head_size = int(np.searchsorted(np.cumsum(class_shares(len(ids), ratio)), 1 - TAIL_SHARE) + 1)
    head = set(ids[:head_size])
    return pd.DataFrame({kind: [i for i in range(count) if i not in head]})


def _participants(names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({"participant_id": list(names)})


def _outliers(videos: list[PlannedVideo]) -> pd.DataFrame:
    rows = [(s.narration_id, s.kind) for video in videos for s in video.segments if s.kind]
    return pd.DataFrame(rows, columns=["narration_id", "kind"]).sort_values("narration_id")


SETTINGS_FILE = "synth.json"


class SynthSummary(NamedTuple):
    """What is in the folder now: segments of each split, videos, how many of these were there before, seconds taken."""

    folder: Path
    segments: dict[str, int]
    videos: int
    kept: int
    seconds: float


def make_kitchens(folder: Path, settings: SynthSettings, workers: int | None = None) -> SynthSummary:
    """Write a data root in the organisers' layout; run again after a kill, it makes what is missing.

    `annotations/` and `videos/` are as the organisers publish them, plus `source_heldout.csv`: labelled segments of
    other videos of the source kitchens, and `hand-objects/` where asked for. `answers/` holds what no training code
    may read.

    Args:
        folder: the data root.
        settings: sizes, seed and difficulty.
        workers: processes that draw videos; None for one per core.

    Returns:
        What is in the folder now.

    Raises:
        DataError: the folder holds something else, or kitchens made with other settings.
    """
    folder = user_path(folder)
    began = time.monotonic()
    _claim(folder, settings)
    videos = plan_videos(settings)
    write_tables(folder, settings, videos)
    remove_leftovers((folder / "videos").glob("*/.*"), ".MP4")
    remove_leftovers((folder / SOURCE_FOLDER).glob("*/.*"), ".pkl")
    missing = [video for video in videos if not all(path.exists() for path in _paths(folder, settings, video))]
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
            raise DataError(f"{note} is no whole JSON: delete {folder} or choose another folder") from error
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


def _paths(folder: Path, settings: SynthSettings, video: PlannedVideo) -> list[Path]:
    """Files of a video: its pictures, and its boxes where they are asked for."""
    return [_video_path(folder, video), *([box_path(folder, video)] if settings.boxes else [])]


def _draw(folder: Path, settings: SynthSettings, videos: list[PlannedVideo], total: int, workers: int) -> None:
    """Draw videos here (one worker, or one video) or in processes. A video exists only when it is whole."""
    draw = partial(_draw_one, folder, settings)
    with closing(in_processes(draw, videos, workers)) as drawn:
        for _ in track(drawn, "drawing videos", total, total - len(videos)):
            pass


def _draw_one(folder: Path, settings: SynthSettings, video: PlannedVideo) -> None:
    if not (path := _video_path(folder, video)).exists():
        write_video(video, settings, path)
    if settings.boxes:
        write_official_boxes(video, settings, box_path(folder, video))
