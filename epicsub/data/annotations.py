"""The organisers' CSV tables, read strictly: every bad row and column of a file is reported at once, with its line.

Times are seconds from the start of the video. The frame columns are the organisers' (60 per second for PXX_YY videos,
50 for PXX_1YY) and serve only to find their extracted frames: never index a video file with them.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import DataError
from epicsub.files import os_reason
from epicsub.io import user_path
from epicsub.text import counted

SEGMENT_COLUMNS = (
    "narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame", "stop_frame",
)  # fmt: skip
LABEL_COLUMNS = ("verb_class", "noun_class")
VIDEO_INFO = "EPIC_100_video_info.csv"
PROBLEMS_SHOWN = 20
TIMESTAMP = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{2,3})")


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
    lines, columns = _read_table(path, SEGMENT_COLUMNS)
    labelled = [name for name in LABEL_COLUMNS if name in columns]
    if len(labelled) == 1:
        raise _missing_columns(path, [name for name in LABEL_COLUMNS if name not in columns], columns)
    if labelled and not any(row["noun_class"] for _, row in lines):
        labelled = ["verb_class"]
    segments: list[Segment] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, row in lines:
        wrong: list[str] = []
        segment = _segment(row, labelled, wrong)
        first = seen.setdefault(segment.narration_id, number)
        if first != number:
            wrong.append(f"narration_id {segment.narration_id!r} is already in line {first}")
        problems += [f"{path}:{number}  {text}" for text in wrong]
        segments.append(segment)
    _refuse(path, problems, "correct these rows, or fetch the organisers' file again")
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
    lines, _ = _read_table(path, ("id", "key"))
    problems: list[str] = []
    names: dict[int, str] = {}
    for number, row in lines:
        wrong: list[str] = []
        identity = _integer(row, "id", wrong)
        if identity in names:
            wrong.append(f"id {identity} is there twice")
        names[identity] = row["key"]
        problems += [f"{path}:{number}  {text}" for text in wrong]
    _refuse(path, problems, "fetch the organisers' file again")
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
    lines, _ = _read_table(path, ("video_id", "duration", "fps", "resolution"))
    problems: list[str] = []
    videos: dict[str, VideoInfo] = {}
    for number, row in lines:
        size = re.fullmatch(r"(\d+)x(\d+)", row["resolution"])
        try:
            duration, fps = float(row["duration"]), float(row["fps"])
        except ValueError:
            duration = fps = 0.0
        if size is None or not duration > 0 or not fps > 0:
            problems.append(
                f"{path}:{number}  {row['video_id']}: duration {row['duration']!r}, fps {row['fps']!r}, resolution "
                f"{row['resolution']!r} (expected positive seconds, positive frames per second, WIDTHxHEIGHT)"
            )
            continue
        videos[row["video_id"]] = VideoInfo(duration, fps, int(size[1]), int(size[2]))
    _refuse(path, problems, "fetch the organisers' file again")
    return videos


def read_ids(path: Path, column: str) -> list[str]:
    """Read one column.

    Args:
        path: a CSV file.
        column: tail classes (`verb`, `noun`), unseen kitchens (`participant_id`), narration ids.

    Returns:
        The column as text.

    Raises:
        DataError: the file is missing or empty, or lacks the column.
    """
    return [row[column] for _, row in _read_table(path, (column,))[0]]


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
    problems: list[str] = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        words = line.split("#")[0].split()
        if len(words) > 1:
            problems.append(f"{path}:{number}  {line.strip()!r}: one narration id a line is expected")
        ids.update(words)
    _refuse(path, problems, "put each narration id on its own line")
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
    for name in ("narration_id", "participant_id", "video_id"):
        if not row[name]:
            wrong.append(f"{name} is empty")
    start, stop = _seconds(row, "start_timestamp", wrong), _seconds(row, "stop_timestamp", wrong)
    if start >= stop and not wrong:
        wrong.append(
            f"{row['narration_id']}: starts at {row['start_timestamp']}, not before its stop at {row['stop_timestamp']}"
        )
    return Segment(
        narration_id=row["narration_id"],
        participant_id=row["participant_id"],
        video_id=row["video_id"],
        start=start,
        stop=stop,
        start_frame=_integer(row, "start_frame", wrong),
        stop_frame=_integer(row, "stop_frame", wrong),
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
    try:
        return int(row[column])
    except ValueError:
        wrong.append(f"{column} {row[column]!r}: a whole number is expected")
        return -1


def _label(row: dict[str, str], column: str, count: int, wrong: list[str]) -> int:
    before = len(wrong)
    label = _integer(row, column, wrong)
    if len(wrong) == before and not 0 <= label < count:
        wrong.append(f"{column} {label}: the challenge has classes 0 to {count - 1}")
    return label


def _read_table(path: Path, needed: Sequence[str]) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Rows with their line numbers, and the columns there are. Rows shorter or longer than the header are refused."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""))
    columns = next(reader, [])
    missing = [name for name in needed if name not in columns]
    if missing:
        raise _missing_columns(path, missing, columns)
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[str] = []
    for values in reader:
        if not values:
            continue
        if len(values) != len(columns):
            problems.append(f"{path}:{reader.line_num}  {len(values)} values under {len(columns)} columns")
            continue
        rows.append((reader.line_num, dict(zip(columns, values, strict=True))))
    _refuse(path, problems, "the file may be cut off: fetch it again")
    if not rows:
        raise DataError(f"{path}: has a header and no rows; fetch the organisers' file again")
    return rows, columns


def _read_text(path: Path) -> str:
    try:
        return user_path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_neighbours(Path(path))}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {os_reason(error, Path(path))}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from None


def _neighbours(path: Path) -> str:
    """What there is instead of `path`: the files of the same kind beside it."""
    if not path.parent.is_dir():
        return f"the folder {path.parent} is not there either"
    beside = sorted(file.name for file in path.parent.iterdir() if file.suffix == path.suffix)
    return f"{path.parent} holds {', '.join(beside) if beside else f'no {path.suffix} file'}"


def _missing_columns(path: Path, missing: Sequence[str], columns: Sequence[str]) -> DataError:
    lacks = ", ".join(missing)
    there = ", ".join(columns) if columns else "none (the file is empty)"
    return DataError(f"{path}:1  missing column {lacks}; the columns there are: {there}")


def _refuse(path: Path, problems: list[str], advice: str) -> None:
    """Raise one DataError for all problems of a file, if there are any."""
    if not problems:
        return
    more = len(problems) - PROBLEMS_SHOWN
    shown = problems[:PROBLEMS_SHOWN] + [f"... and {more} more"] * (more > 0)
    raise DataError("\n".join([f"{path}: {counted(len(problems), 'problem', 'problems')}; {advice}", *shown]))
