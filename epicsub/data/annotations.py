"""The organisers' CSV tables, read strictly: every bad row and column of a file is reported at once, with its line.

Times are seconds from the start of the video. The frame columns are the organisers' (60 per second for PXX_YY videos,
50 for PXX_1YY) and serve only to find their extracted frames: never index a video file with them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.data.csv_table import CsvTable, read_csv
from epicsub.errors import DataError
from epicsub.io import user_path
from epicsub.io.files import read_text
from epicsub.text import invisible_in

SEGMENT_COLUMNS = (
    "narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame", "stop_frame",
)  # fmt: skip
LABEL_COLUMNS = ("verb_class", "noun_class")
VIDEO_INFO = "EPIC_100_video_info.csv"
TIMESTAMP = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{2,3})", re.ASCII)
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Segment:
    """One narrated action: `start` and `stop` in seconds, classes None where the list has no labels."""

    narration_id: str
    participant_id: str
    video_id: str
    start: float
    stop: float
    start_frame: int
    stop_frame: int
    verb_class: int | None
    noun_class: int | None


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A line of EPIC_100_video_info.csv: `duration` in seconds, `fps` in frames per second, size in pixels."""

    duration: float
    fps: float
    width: int
    height: int


def read_segments(path: Path) -> list[Segment]:
    """Read a list of segments.

    Args:
        path: a CSV file. It has both label columns or none; without them `verb_class` and `noun_class` are None. A
            noun_class column that is empty throughout is a list of verbs (as in MM-SADA).

    Returns:
        Segments in the file's order.

    Raises:
        DataError: the file is missing or empty, lacks a column, or has wrong rows (one line each).
    """
    table = read_csv(path, SEGMENT_COLUMNS)
    labelled = [name for name in LABEL_COLUMNS if name in table.columns]
    if labelled:
        table.require(LABEL_COLUMNS)
    if labelled and not any(row["noun_class"] for _, row in table.rows):
        labelled = ["verb_class"]
    segments: list[Segment] = []
    seen: dict[str, int] = {}
    for number, row in table.rows:
        wrong: list[str] = []
        segment = _segment(row, labelled, wrong)
        first = seen.setdefault(segment.narration_id, number)
        if first != number:
            wrong.append(f"narration_id {segment.narration_id!r} is already in line {first}")
        table.problems += [(number, text) for text in wrong]
        segments.append(segment)
    table.refuse()
    return segments


def read_class_names(path: Path) -> dict[int, str]:
    """Read the names of classes.

    Args:
        path: EPIC_100_verb_classes.csv or EPIC_100_noun_classes.csv.

    Returns:
        Class id -> name, from the columns `id` and `key`.

    Raises:
        DataError: as `read_segments`.
    """
    table = read_csv(path, ("id", "key"))
    names: dict[int, str] = {}
    for number, row in table.rows:
        wrong: list[str] = []
        identity = _integer(row, "id", wrong)
        if identity in names:
            wrong.append(f"id {identity} is there twice")
        names[identity] = row["key"]
        table.problems += [(number, text) for text in wrong]
    table.refuse()
    return names


def read_video_info(path: Path) -> dict[str, VideoInfo]:
    """Read the table of videos.

    Args:
        path: EPIC_100_video_info.csv.

    Returns:
        Video id -> duration, frame rate and size.

    Raises:
        DataError: as `read_segments`.
    """
    table = read_csv(path, ("video_id", "duration", "fps", "resolution"))
    videos: dict[str, VideoInfo] = {}
    for number, row in table.rows:
        size = re.fullmatch(r"([0-9]+)x([0-9]+)", row["resolution"])
        duration, fps = (float(row[name]) if _NUMBER.fullmatch(row[name]) else 0.0 for name in ("duration", "fps"))
        if size is None or not duration > 0 or not fps > 0:
            text = (
                f"{row['video_id']}: duration {row['duration']!r}, fps {row['fps']!r}, resolution "
                f"{row['resolution']!r} (expected positive seconds, positive frames a second, WIDTHxHEIGHT)"
            )
            table.problems.append((number, text))
            continue
        if row["video_id"] in videos:
            table.problems.append((number, f"video_id {row['video_id']!r} is there twice"))
        videos[row["video_id"]] = VideoInfo(duration, fps, int(size[1]), int(size[2]))
    table.refuse()
    return videos


def read_ids(path: Path, column: str) -> list[str]:
    """Read one column.

    Args:
        path: a CSV file.
        column: tail classes (`verb`, `noun`), unseen kitchens (`participant_id`), narration ids.

    Returns:
        The column as text.

    Raises:
        DataError: the file is missing or empty, lacks the column, or has wrong rows (one line each).
    """
    table = read_csv(path, (column,))
    table.problems += [(number, f"{column} is empty") for number, row in table.rows if not row[column]]
    table.refuse()
    return [row[column] for _, row in table.rows]


def read_skip_list(path: Path) -> set[str]:
    """Read a skip list.

    Args:
        path: a text file, one narration id per line; empty lines and what follows a `#` are ignored.

    Returns:
        Narration ids to leave out.

    Raises:
        DataError: the file cannot be read, or a line holds more than one word.
    """
    ids: set[str] = set()
    table = CsvTable(Path(path), ["narration_id"])
    for number, line in enumerate(re.split(r"\r\n|\r|\n", read_text(user_path(path), DataError)), start=1):
        name = line.split("#")[0].strip(" \t")
        if found := invisible_in(name):
            table.problems.append((number, f"{name!r}: {', '.join(found)}; delete it"))
        elif " " in name:
            table.problems.append((number, f"{name!r}: one narration id a line is expected"))
        elif name:
            ids.add(name)
    table.refuse()
    return ids


def parse_timestamp(text: str) -> float:
    """Parse a timestamp.

    Args:
        text: `HH:MM:SS.ff` or `HH:MM:SS.fff`.

    Returns:
        Seconds: the float nearest to the decimal that is written.

    Raises:
        ValueError: the text has another form.
    """
    match = TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(text)
    hours, minutes, seconds, fraction = match.groups()
    return float(f"{(int(hours) * 60 + int(minutes)) * 60 + int(seconds)}.{fraction}")


def _segment(row: dict[str, str], labelled: Sequence[str], wrong: list[str]) -> Segment:
    """Build the segment of a row; what is wrong with it is added to `wrong`."""
    wrong += [f"{name} is empty" for name in ("narration_id", "participant_id", "video_id") if not row[name]]
    start, stop = _seconds(row, "start_timestamp", wrong), _seconds(row, "stop_timestamp", wrong)
    if start >= stop and not wrong:
        wrong.append(
            f"{row['narration_id']}: starts at {row['start_timestamp']}, not before its stop at {row['stop_timestamp']}"
        )
    start_frame, stop_frame = _integer(row, "start_frame", wrong), _integer(row, "stop_frame", wrong)
    if not 0 <= start_frame <= stop_frame and not wrong:
        wrong.append(f"start_frame {start_frame} and stop_frame {stop_frame}: 0 or more, in this order, are expected")
    return Segment(
        narration_id=row["narration_id"],
        participant_id=row["participant_id"],
        video_id=row["video_id"],
        start=start,
        stop=stop,
        start_frame=start_frame,
        stop_frame=stop_frame,
        verb_class=_label(row, "verb_class", NUM_VERBS, wrong) if "verb_class" in labelled else None,
        noun_class=_label(row, "noun_class", NUM_NOUNS, wrong) if "noun_class" in labelled else None,
    )


def _seconds(row: dict[str, str], column: str, wrong: list[str]) -> float:
    try:
        return parse_timestamp(row[column])
    except ValueError:
        wrong.append(f"{column} {row[column]!r}: HH:MM:SS.ff is expected")
        return 0.0


def _integer(row: dict[str, str], column: str, wrong: list[str]) -> int:
    if re.fullmatch(r"-?[0-9]{1,18}", row[column]):
        return int(row[column])
    wrong.append(f"{column} {row[column]!r}: a whole number is expected")
    return -1


def _label(row: dict[str, str], column: str, count: int, wrong: list[str]) -> int:
    before = len(wrong)
    label = _integer(row, column, wrong)
    if len(wrong) == before and not 0 <= label < count:
        wrong.append(f"{column} {label}: the challenge has classes 0 to {count - 1}")
    return label
