"""Check the files of boxes of a data root: counts of frames, the two videos that were wrong once, boxes, hands."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from epicsub.data.annotations import VideoInfo
from epicsub.data.boxes.convert import ERRATA, OFFICIAL, count_problem
from epicsub.data.boxes.coverage import year_of
from epicsub.data.boxes.detections import FULL
from epicsub.data.boxes.store import VideoBoxes, boxes_path, open_boxes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.io.files import may_be_file
from epicsub.text import counted

SEEN_SCORE = 0.5  # of a hand that counts, as the detector's authors advise


@dataclass(slots=True)
class YearOfBoxes:
    """Files of boxes of the videos of one year."""

    videos: int = 0
    frames: int = 0
    with_hand: int = 0


@dataclass(slots=True)
class BoxesReport:
    """What was found in boxes/; empty where there is none."""

    years: dict[str, YearOfBoxes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # ids of videos
    problems: dict[str, list[str]] = field(default_factory=dict)  # path -> what is wrong
    notes: dict[str, list[str]] = field(default_factory=dict)  # path -> what is unusual

    def lines(self) -> list[str]:
        """Put it into words.

        Returns:
            Lines for the user.
        """
        lines = [f"{path}: {text}" for path, texts in self.problems.items() for text in texts]
        lines += [f"note: {path}: {text}" for path, texts in self.notes.items() for text in texts]
        return lines + [
            f"boxes, {year}: {counted(found.videos, 'video', 'videos')}, {found.frames} frames, "
            f"{100 * found.with_hand / max(1, found.frames):.1f} % with a hand"
            for year, found in sorted(self.years.items())
        ]

    def as_json(self) -> dict[str, Any]:
        """Convert to what `--json` writes.

        Returns:
            Plain values.
        """
        return asdict(self)


def check_boxes(root: DataRoot, video_ids: Sequence[str], infos: Mapping[str, VideoInfo]) -> BoxesReport:
    """Check the boxes of videos.

    Args:
        root: the data root.
        video_ids: of the lists.
        infos: rows of `EPIC_100_video_info.csv`.

    Returns:
        All that was found.
    """
    found = BoxesReport()
    paths = {video_id: boxes_path(root.path, video_id) for video_id in video_ids}
    there = {video_id: path for video_id, path in paths.items() if may_be_file(path)}
    if not there:
        return found
    found.missing = [video_id for video_id in video_ids if video_id not in there]
    for video_id, path in there.items():
        try:
            boxes = open_boxes(path)
        except DataError as error:
            found.problems[str(path)] = [str(error).removeprefix(f"{path}: ")]
            continue
        year = found.years.setdefault(year_of(video_id), YearOfBoxes())
        year.videos, year.frames = year.videos + 1, year.frames + boxes.arrays.frames
        year.with_hand += _frames_with_hand(boxes)
        if problems := list(_problems(video_id, boxes, infos.get(video_id))):
            found.problems[str(path)] = problems
        if boxes.note.absent:
            missing = counted(boxes.note.absent, "frame", "frames")
            found.notes[str(path)] = [f"its source lacks {missing} between its first and last; they have no box"]
    return found


def _problems(video_id: str, boxes: VideoBoxes, info: VideoInfo | None) -> list[str]:
    arrays, note = boxes.arrays, boxes.note
    problems = []
    erratum = ERRATA.get(video_id)
    if erratum and arrays.frames == erratum.wrong_frames and note.source.get("md5") != erratum.right_md5:
        problems.append(
            f"made of the wrong file of the first release ({arrays.frames} frames): fetch the corrected one (md5 "
            f"{erratum.right_md5}) and run `epicsub data boxes --overwrite`"
        )
    elif note.detector == OFFICIAL and (text := count_problem(arrays.frames, note.rate, info)):
        problems.append(text)
    for kind, starts in (("hand", arrays.hand_starts), ("object", arrays.object_starts)):
        if (np.diff(starts.astype(np.int64)) < 0).any():
            problems.append(f"the rows of its {kind}s are out of order: damaged, run `epicsub data boxes` again")
    for kind, rows in (("hands", arrays.hands), ("objects", arrays.objects)):
        if wrong := int(((rows[:, 0] > rows[:, 2]) | (rows[:, 1] > rows[:, 3])).sum()):
            problems.append(
                f"{wrong} of {len(rows)} {kind} have a left edge right of the right one, or a top below the bottom"
            )
    return problems


def _frames_with_hand(boxes: VideoBoxes) -> int:
    seen = np.concatenate([[0], np.cumsum(boxes.arrays.hands[:, 4] >= SEEN_SCORE * FULL)])
    starts = np.minimum(boxes.arrays.hand_starts, len(seen) - 1)
    return int((np.diff(seen[starts]) > 0).sum())
