"""The organisers' tables that scoring reads: labels, ids, tail classes, unseen kitchens, training labels, names."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from epicsub.data.annotations import parse_timestamp, read_class_names, read_video_info
from epicsub.data.csv_table import hint_of_separator, read_csv
from epicsub.errors import DataError, EpicsubError, ValidationError
from epicsub.io.files import check_readable
from epicsub.text import name_some
from epicsub.validation.protocol import TASKS, Protocol, SegmentList

Read = TypeVar("Read")
LABEL_COLUMNS = ("narration_id", "participant_id", "video_id", "verb_class", "noun_class")


@dataclass(frozen=True)
class Background:
    """Tables that scoring can do without; what is not there is None, and `notes` says what is left out for it."""

    training: pd.DataFrame | None
    """verb_class and noun_class of the training list"""
    fps: dict[str, float] | None
    """video -> frames per second"""
    names: dict[str, dict[int, str]]
    """verb and noun -> class -> name; a class without a name goes by its number"""
    notes: tuple[str, ...]

    def name(self, task: str, identity: int) -> str:
        """Name a class, e.g. `take`, or `take plate` for an action.

        Args:
            task: verb, noun or action.
            identity: class id; of an action verb * 1000 + noun.

        Returns:
            The name; a class without one goes by its number.
        """
        if task == "action":
            return f"{self.name('verb', identity // 1000)} {self.name('noun', identity % 1000)}"
        return self.names.get(task, {}).get(identity, f"{task} {identity}")


def read_labels(
    annotations: Path, segments: SegmentList, count: int | None = None, tasks: Sequence[str] = TASKS
) -> pd.DataFrame:
    """Read the labelled segments of a list.

    `seconds` is each segment's length, where the list has its times; noun_class is -1 where `tasks` is verbs alone.
    `count` takes the place of the number that the protocol states.

    Args:
        annotations: folder of the lists.
        segments: the list, and how many segments it must have.
        count: another number, in place of that.
        tasks: verb, or verb and noun: noun_class is -1 for verbs alone.

    Returns:
        narration_id, participant_id, video_id (str), verb_class, noun_class (int) and, where the list has times,
        seconds.

    Raises:
        ValidationError: no such table, no labels in it, values that are no class ids, or another number of segments.
    """
    path = Path(annotations) / segments.list
    table = read_table(path)
    if "narration_id" in table and "verb_class" not in table and "noun_class" not in table:
        raise ValidationError(
            f"{path}: this list has no labels (no verb_class and noun_class column), so it cannot be scored; "
            "score the protocol's validation list"
        )
    labels = _labels(table, path, tasks)
    if {"start_timestamp", "stop_timestamp"} <= set(table.columns):
        labels["seconds"] = _seconds(table["stop_timestamp"], path) - _seconds(table["start_timestamp"], path)
        if (wrong := labels["seconds"] <= 0).any():
            where = name_some(f"line {line}" for line in labels.index[wrong])
            raise ValidationError(f"{path}: expected a start_timestamp before stop_timestamp in {where}")
    _check_ids(labels["narration_id"], path, count or segments.count)
    return labels.reset_index(drop=True)


def read_training(path: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """The labels of a training list of any length, for the frequencies of classes.

    Args:
        path: the list.
        tasks: as in `read_labels`.

    Returns:
        As `read_labels`, without seconds.

    Raises:
        ValidationError: no such table, or values that are no class ids.
    """
    return _labels(read_table(path), path, tasks).reset_index(drop=True)


def read_background(protocol: Protocol, annotations: Path) -> Background:
    """Read what there is of the training list, the table of videos and the class names.

    Args:
        protocol: names the training list.
        annotations: folder of the tables.

    Returns:
        What was found, and notes on what was not.
    """
    folder = Path(annotations)
    notes: list[str] = []

    def read(path: Path, reader: Callable[[], Read], without: str) -> Read | None:
        if not path.is_file():
            notes.append(f"{without}: {path} is not there")
            return None
        try:
            return reader()
        except EpicsubError as error:
            notes.append(f"{without}: {error}")
            return None

    training, videos = folder / protocol.training_list, folder / "EPIC_100_video_info.csv"
    read_training_list = read(
        training, lambda: read_training(training, protocol.tasks), "no scores by training frequency or seen action"
    )
    info = read(videos, lambda: read_video_info(videos), "no scores by frame rate")
    names = {}
    for task in ("verb", "noun"):
        path = folder / f"EPIC_100_{task}_classes.csv"
        names[task] = read(path, partial(read_class_names, path), f"{task}s by number only") or {}
    return Background(
        training=read_training_list,
        fps=None if info is None else {video: about.fps for video, about in info.items()},
        names=names,
        notes=tuple(notes),
    )


def _labels(table: pd.DataFrame, path: Path, tasks: Sequence[str]) -> pd.DataFrame:
    require_columns(table, path, LABEL_COLUMNS)
    labels = table[list(LABEL_COLUMNS)].copy()
    labels["verb_class"] = _whole_numbers(table["verb_class"], path)
    labels["noun_class"] = _whole_numbers(table["noun_class"], path) if "noun" in tasks else -1
    return labels


def _seconds(times: pd.Series, path: Path) -> pd.Series:
    seconds = {}
    wrong = []
    for line, text in times.items():
        try:
            seconds[line] = parse_timestamp(text)
        except ValueError:
            wrong.append(f"line {line} ({text!r})")
    if wrong:
        raise ValidationError(f"{path}: expected HH:MM:SS.ff as {times.name}: {name_some(wrong)}")
    return pd.Series(seconds)


def read_classes(path: Path, column: str) -> list[int]:
    """Read the class ids of one column, such as the tail verbs.

    Args:
        path: the table.
        column: its name.

    Returns:
        Class ids, row by row.

    Raises:
        ValidationError: no such table or column, or values that are no class ids.
    """
    table = read_table(path)
    require_columns(table, path, [column])
    return [int(value) for value in _whole_numbers(table[column], path)]


def read_names(path: Path, column: str) -> list[str]:
    """Read the names of one column, such as the unseen participants.

    Args:
        path: the table.
        column: its name.

    Returns:
        Names, row by row.

    Raises:
        ValidationError: no such table or column.
    """
    table = read_table(path)
    require_columns(table, path, [column])
    return [str(value) for value in table[column]]


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV table as text.

    Args:
        path: the table.

    Returns:
        Its rows, all columns str, by the line that each begins in.

    Raises:
        ValidationError: no such table, no CSV, or rows that `read_csv` finds wrong.
    """
    if not path.is_file():
        raise ValidationError(f"{path}: no such table; copy it there (epic-kitchens-100-annotations)")
    check_readable(path, ValidationError)
    try:
        table = read_csv(path)
        table.refuse()
    except DataError as error:
        raise ValidationError(str(error)) from error
    lines = [line for line, _ in table.rows]
    columns = list(dict.fromkeys(table.columns))  # of several without a name, rows hold the last
    return pd.DataFrame([list(row.values()) for _, row in table.rows], lines, columns, dtype=str)


def require_columns(table: pd.DataFrame, path: Path, columns: Sequence[str]) -> None:
    """Refuse a table that lacks columns.

    Args:
        table: as it was read.
        path: where, for the message.
        columns: that it must have.

    Raises:
        ValidationError: some are missing.
    """
    missing = [column for column in columns if column not in table]
    if missing:
        there = [str(name) for name in table.columns]
        raise ValidationError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}{hint_of_separator(there)}"
        )


def _whole_numbers(values: pd.Series, path: Path) -> pd.Series:
    wrong = [f"line {line} ({value!r})" for line, value in values.items() if not re.fullmatch("[0-9]{1,9}", str(value))]
    if wrong:
        raise ValidationError(f"{path}: expected class ids as {values.name}: {name_some(wrong)}")
    return values.astype(int)


def _check_ids(ids: pd.Series, path: Path, expected: int) -> None:
    problems = []
    if twice := sorted(set(ids[ids.duplicated()])):
        problems.append(f"{path}: narration ids that occur more than once, keep each once: {name_some(twice)}")
    if len(ids) != expected:
        problems.append(
            f"{path}: {len(ids)} segments, {expected} expected; if this is the list you mean, say --count {len(ids)}"
        )
    if problems:
        raise ValidationError("\n".join(problems))
