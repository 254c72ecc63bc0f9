"""What must come of an annotation table, by a reader that splits the text by hand and knows the organisers' rules."""

import codecs
import re
import unicodedata
from collections.abc import Callable
from typing import Any

NEEDED = ("narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame")
LISTS = {
    "train": (*NEEDED, "stop_frame", "verb_class", "noun_class"),
    "labels": ("narration_id", "participant_id", "video_id", "verb_class", "noun_class"),
    "test": (*NEEDED, "stop_frame"),
    "info": ("video_id", "duration", "fps", "resolution"),
    "classes": ("id", "key"),
    "tail": ("noun",),
    "words": ("noun",),
    "skip": ("narration_id",),
}
UNSEEN = " \t\u00a0\u200b\ufeff\u00ad\u2060\u202e\u2009\u3000\u0000\u001a\u0085\u2028\u200d\u115f\u2800\ufe0f\u007f"
FILLERS = set("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0") | {
    chr(n) for n in range(0xFE00, 0xFE10)
}


def reference(content: bytes, name: str) -> Any:  # noqa: PLR0911  # a return per rule
    """The table as it stands, or None where it must be refused."""
    text = _decoded(content)
    if text is None:
        return None
    if name == "skip":
        words = [line.split("#")[0].strip(" \t") for line in re.split("\r\n|\r|\n", text)]
        return None if any(map(_bad_cell, words)) or any(" " in word for word in words) else set(filter(None, words))
    rows = split(text)
    if not rows or any(map(_bad_cell, rows[0])):
        return None
    header, body = rows[0], [row for row in rows[1:] if row]
    named = [column for column in header if column]
    if len(set(named)) < len(named) or set(LISTS[name]) - set(header) or not body:
        return None
    if any(len(row) != len(header) or any(map(_bad_cell, row)) for row in body):
        return None
    cells = [dict(zip(header, row, strict=True)) for row in body]
    try:
        return RULES[name](cells)
    except (ValueError, KeyError):
        return None


def _decoded(content: bytes) -> str | None:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (b"", "utf-8"),
    ):
        if content.startswith(mark):
            try:
                return content[len(mark) :].decode(encoding)
            except UnicodeDecodeError:
                return None
    return None


def split(text: str) -> list[list[str]] | None:  # noqa: PLR0912  # a branch per kind of character
    """Rows of cells by hand; None for quotes that are not closed, or with text behind them, or cells without end."""
    rows, row, cell, place = [], [], [], 0
    quoted, closed, fresh = False, False, True
    text = text if text.endswith(("\n", "\r")) else text + "\n"
    while place < len(text):
        character = text[place]
        place += 1
        if quoted:
            if character == '"' and text[place : place + 1] == '"':
                cell.append('"')
                place += 1
            elif character == '"':
                quoted, closed = False, True
            else:
                cell.append(character)
        elif character == '"' and fresh:
            quoted, fresh = True, False
        elif character in ",\r\n":
            if len(cell) > 131_072:
                return None
            if character != ",":
                if character == "\r" and text[place : place + 1] == "\n":
                    place += 1
                rows.append([*row, "".join(cell)] if row or cell or closed else [])
                row, cell = [], []
            else:
                row.append("".join(cell))
                cell = []
            closed, fresh = False, True
        elif closed:
            return None
        else:
            cell.append(character)
            fresh = False
    return None if quoted else rows


def _bad_cell(cell: str) -> bool:
    return cell.strip(" ") != cell or any(
        character in FILLERS
        or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        or (unicodedata.category(character) == "Zs" and character != " ")
        for character in cell
    )


def _number(cell: str) -> int:
    if not re.fullmatch("-?[0-9]{1,9}", cell):
        raise ValueError
    return int(cell)


def _time(cell: str) -> float:
    if not re.fullmatch("[0-9]{2,}:[0-5][0-9]:[0-5][0-9][.][0-9]{2,3}", cell):
        raise ValueError
    hours, minutes, seconds = cell.split(":")
    return round(3600 * int(hours) + 60 * int(minutes) + float(seconds), 3)


def _of_list(cells: list[dict[str, str]]) -> list[tuple[Any, ...]]:
    found, seen = [], set()
    labelled = "verb_class" in cells[0]
    for row in cells:
        narration, participant, video = (row[name] for name in ("narration_id", "participant_id", "video_id"))
        start, stop = _time(row["start_timestamp"]), _time(row["stop_timestamp"])
        frames = _number(row["start_frame"]), _number(row["stop_frame"])
        verb, noun = (_number(row["verb_class"]), _number(row["noun_class"])) if labelled else (None, None)
        wrong = (
            not re.fullmatch(re.escape(video) + "_[0-9]+", narration)
            or not (participant and video.startswith(participant + "_"))
            or " " in narration + video + participant
            or narration in seen
            or start >= stop
            or not 0 <= frames[0] <= frames[1]
            or (labelled and not (0 <= verb < 97 and 0 <= noun < 300))
        )
        if wrong:
            raise ValueError
        seen.add(narration)
        found.append((narration, participant, video, start, stop, verb, noun))
    return found


def _of_info(cells: list[dict[str, str]]) -> dict[str, tuple[float, float, int, int]]:
    found = {}
    for row in cells:
        size = re.fullmatch("([0-9]+)x([0-9]+)", row["resolution"])
        if size is None or row["video_id"] in found or " " in row["video_id"]:
            raise ValueError
        numbers = [row["duration"], row["fps"]]
        if not all(re.fullmatch("[0-9]+([.][0-9]+)?", number) and float(number) > 0 for number in numbers):
            raise ValueError
        found[row["video_id"]] = (float(numbers[0]), float(numbers[1]), int(size[1]), int(size[2]))
    return found


def _of_classes(cells: list[dict[str, str]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for row in cells:
        if _number(row["id"]) in found:
            raise ValueError
        found[_number(row["id"])] = row["key"]
    return found


def _of_tail(cells: list[dict[str, str]]) -> list[int]:
    numbers = [_number(row["noun"]) for row in cells]
    if min(numbers) < 0:
        raise ValueError
    return numbers


def _of_labels(cells: list[dict[str, str]]) -> list[tuple[Any, ...]]:
    found, seen = [], set()
    for row in cells:
        narration, participant, video = (row[name] for name in ("narration_id", "participant_id", "video_id"))
        verb, noun = _number(row["verb_class"]), _number(row["noun_class"])
        timed = {"start_timestamp", "stop_timestamp"} <= set(row)
        seconds = round(_time(row["stop_timestamp"]) - _time(row["start_timestamp"]), 3) if timed else None
        wrong = (
            not re.fullmatch(re.escape(video) + "_[0-9]+", narration)
            or not (participant and video.startswith(participant + "_"))
            or " " in narration + video + participant
            or narration in seen
            or (timed and seconds <= 0)
            or not (0 <= verb < 97 and 0 <= noun < 300)
        )
        if wrong:
            raise ValueError
        seen.add(narration)
        found.append((narration, participant, video, verb, noun, seconds))
    return found


def _of_words(cells: list[dict[str, str]]) -> list[str]:
    if not all(row["noun"] for row in cells):
        raise ValueError
    return [row["noun"] for row in cells]


RULES: dict[str, Callable[[list[dict[str, str]]], Any]] = {
    "train": _of_list,
    "labels": _of_labels,
    "test": _of_list,
    "info": _of_info,
    "classes": _of_classes,
    "tail": _of_tail,
    "words": _of_words,
}
