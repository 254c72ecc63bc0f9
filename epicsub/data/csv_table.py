"""Any CSV table as text, read strictly: nothing is stripped, guessed or taken twice."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from epicsub.errors import DataError
from epicsub.io import user_path
from epicsub.io.files import read_text
from epicsub.text import counted, invisible_in

PROBLEMS_SHOWN = 20
ID_COLUMNS = ("narration_id", "video_id", "participant_id")
FOREIGN_PREFIX = "EK55_"
"""Narration ids that are no video's id and a number: those of EPIC-KITCHENS-55's tables."""
_CLASS_COLUMNS = (("verb", "verb_class"), ("noun", "noun_class"))
_SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'"}
_ADVICE = "correct these lines, or fetch the organisers' file again"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CsvTable:
    """Rows with their line numbers, and what is wrong with them so far."""

    path: Path
    columns: list[str]
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    """line, and what is wrong there"""

    def require(self, needed: Sequence[str]) -> None:
        """Raise an error that names the columns that are missing, if any are.

        Args:
            needed: names of columns.

        Raises:
            DataError: some are missing; the message lists those that are there.
        """
        if missing := [name for name in needed if name not in self.columns]:
            there = ", ".join(self.columns) if self.columns else "none (the file is empty)"
            raise DataError(
                f"{self.path}:1  missing column {', '.join(missing)}; the columns there are: {there}"
                f"{hint_of_separator(self.columns)}"
            )

    def refuse(self) -> None:
        """Raise one error for all problems, if there are any.

        Raises:
            DataError: problems in the order of their lines, the first ones in words.
        """
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda problem: problem[0])
        shown = [f"{self.path}:{line}  {text}" for line, text in ordered[:PROBLEMS_SHOWN]]
        more = len(ordered) - len(shown)
        head = f"{self.path}: {counted(len(ordered), 'problem', 'problems')}; {_ADVICE}"
        raise DataError("\n".join([head, *shown, *[f"... and {more} more"] * (more > 0)]))


def read_csv(path: Path, needed: Sequence[str] = ()) -> CsvTable:
    """Read a table.

    Args:
        path: a CSV file with a header.
        needed: columns that it must have.

    Returns:
        The rows. `problems` holds rows of another length than the header, characters that do not show, and rows whose
        narration, video and participant do not belong together; the caller adds its own and calls `refuse`.

    Raises:
        DataError: the file is missing, empty, not text, or not CSV, or a column is missing or there twice.
    """
    path = user_path(path)
    reader = csv.reader(io.StringIO(read_text(path, DataError), newline=""), strict=True)
    header, *body = _lines(path, reader) or [(1, [])]
    table = CsvTable(path, header[1])
    _check_header(table, needed)
    for line, values in body:
        if not values:
            continue
        if len(values) != len(table.columns):
            table.problems.append(
                (line, f"{len(values)} values under {len(table.columns)} columns; the file may be cut off")
            )
            continue
        row = dict(zip(table.columns, values, strict=True))
        table.rows.append((line, row))
        found = list(_unseen(row)) or [problem for problem in (_unrelated(row),) if problem]
        table.problems += [(line, problem) for problem in found]
    for words, classes in _CLASS_COLUMNS:
        if {words, classes} <= set(table.columns):
            _warn_of_two_classes(table, words, classes)
    if not table.rows:
        table.refuse()
        raise DataError(f"{path}: has a header and no rows; fetch the organisers' file again")
    return table


def hint_of_separator(columns: Sequence[str]) -> str:
    """Say what separates the columns of a table that lacks some, where it is no comma.

    Args:
        columns: of the table, as they were read.

    Returns:
        The end of a sentence; empty where nothing else separates them.
    """
    parted = [name for separator, name in _SEPARATORS.items() if separator in "".join(columns)]
    return f"; they are separated by {' or '.join(parted)}: save the table with commas" if parted else ""


def _lines(path: Path, reader: Any) -> list[tuple[int, list[str]]]:
    """Every row with the line that it begins in."""
    rows: list[tuple[int, list[str]]] = []
    began = 1
    try:
        for values in reader:
            rows.append((began, values))
            began = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            what = f"a value of more than {csv.field_size_limit()} characters"
        else:
            what = "a quote that is not closed, or text behind one that is"
        raise DataError(f"{path}:{began}  {what}: not CSV from here on; close the quote, or {_ADVICE}") from error
    return rows


def _check_header(table: CsvTable, needed: Sequence[str]) -> None:
    """Refuse columns that are missing or there twice, or whose names hold characters that do not show."""
    columns = table.columns
    if len(columns) == 1 and hint_of_separator(columns):
        table.require(needed)
    problems = [f"column {name!r}: {', '.join(found)}; delete it" for name in columns if (found := invisible_in(name))]
    twice = [name for name in dict.fromkeys(columns) if name and columns.count(name) > 1]
    if twice:
        problems.append(f"column {', '.join(twice)} is there more than once: keep the one that is right")
    if problems:
        raise DataError("\n".join(f"{table.path}:1  {problem}" for problem in problems))
    table.require(needed)


def _unseen(row: dict[str, str]) -> Iterator[str]:
    """Values with characters that do not show."""
    for column, value in row.items():
        found = invisible_in(value)
        if column in ID_COLUMNS and " " in value.strip(" "):
            found.append("blank inside")
        if found:
            yield f"{column} {value!r}: {', '.join(found)}; delete it"


def _unrelated(row: dict[str, str]) -> str:
    """What is wrong between a row's narration, video and participant, as far as it has them."""
    narration, video, participant = (row.get(column) for column in ID_COLUMNS)
    if narration and video and not narration.startswith(FOREIGN_PREFIX):
        number = narration.removeprefix(f"{video}_")
        if number == narration or not (number.isascii() and number.isdecimal()):
            return _about_ids(f"narration_id {narration} stands beside video_id {video}", f"{video}_NUMBER")
    if video and participant and not video.startswith(f"{participant}_"):
        return _about_ids(f"video_id {video} stands beside participant_id {participant}", f"{participant}_NUMBER")
    return ""


def _warn_of_two_classes(table: CsvTable, words: str, classes: str) -> None:
    """Warn of a verb or noun that stands beside two classes, which the organisers' tables never have."""
    first: dict[str, tuple[int, str]] = {}
    for line, row in table.rows:
        word, number = row[words], row[classes]
        first_line, first_number = first.setdefault(word, (line, number))
        if word and number and number != first_number:
            log.warning(
                "%s:%d  %s %r stands beside %s %s, in line %d beside %s: was a column sorted by itself?",
                table.path, line, words, word, classes, number, first_line, first_number,
            )  # fmt: skip
            return


def _about_ids(what: str, expected: str) -> str:
    return f"{what}, {expected} expected; was a column sorted by itself?"
