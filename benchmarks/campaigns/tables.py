"""Annotation tables, changed in one or two ways each: read as they stand, or refused with file and line.

What must come of a table is decided here by a reader of its own, which splits the text by hand and knows the rules of
the organisers' tables: nothing in a value that does not show, each needed column once, whole rows, ids that belong
together, each narration once, times and classes in their ranges.
"""

import codecs
import logging
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from epicsub.data.annotations import read_class_names, read_ids, read_segments, read_skip_list, read_video_info
from epicsub.errors import EpicsubError
from epicsub.validation.protocol import SegmentList
from epicsub.validation.tables import read_classes, read_labels

TOTAL = 2000
MUST_BE_ZERO = ("traceback", "silent", "nameless", "refused_good")
HEAD = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
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


def prepare(folder: Path) -> None:
    rng = random.Random(0)
    rows, number = [HEAD], 0
    for video in ("P01_01", "P01_101", "P02_03", "P22_117"):
        begin = 1.0
        for place in range(6):
            start, stop = begin + rng.random(), begin + 2 + 2 * rng.random()
            begin, number = stop - rng.random(), number + 1
            times = [f"00:{int(t // 60):02d}:{t % 60:05.2f}" for t in (start, stop)]
            verb, noun = rng.randrange(97), rng.randrange(300)
            rows.append(
                f"{video}_{place},{video[:3]},{video},{times[0]}0,{times[0]},{times[1]},"
                f"{int(50 * start)},{int(50 * stop)},verb{verb} the noun{noun},verb{verb},{verb},noun{noun},{noun},"
                f"\"['noun{noun}', 'x']\",\"[{noun}, 5]\""
            )
    test = [",".join(row.split(",")[:8]) for row in rows]
    texts = {
        "train": rows,
        "test": test,
        "info": [
            "video_id,duration,fps,resolution",
            *(f"P01_{n},{60 + n / 7:.6f},59.94,1920x1080" for n in range(10, 30)),
        ],
        "classes": ["id,key,instances,category", *(f"{n},verb{n},\"['verb{n}', 'x']\",any" for n in range(30))],
        "tail": ["noun", *map(str, range(20, 50))],
        "skip": [f"P01_101_{n}" for n in range(20)],
    }
    (folder / "inputs").mkdir(exist_ok=True)
    for name, lines in texts.items():
        (folder / "inputs" / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    name = rng.choice(("train", "train", "train", "test", "test", "info", "classes", "tail", "skip"))
    text = (folder / "inputs" / f"{name}.csv").read_text(encoding="utf-8")
    done, content = [], b""
    for _ in range(rng.choice((1, 1, 1, 2))):
        way = rng.choice(OF_TEXT)
        text, done = way(text, rng), [*done, way.__name__]
    way = rng.choice(OF_BYTES) if rng.random() < 0.35 else as_utf8
    content, done = way(text, rng), [*done, way.__name__]
    path = folder / "scratch" / f"{name}.csv"
    path.write_bytes(content)
    logging.getLogger("epicsub").setLevel(logging.ERROR)
    detail = f"{name}: {', '.join(done)}"
    outcomes = [_outcome(reader, path, reference(content, rules)) for rules, reader in READERS[name].items()]
    for worst in ("traceback", "silent", "nameless", "refused_good"):
        for outcome, said in outcomes:
            if outcome == worst:
                return {"outcome": worst, "detail": f"{detail}: {said[:600]}"}
    return {"outcome": outcomes[0][0], "detail": f"{detail}: {outcomes[0][1][:200]}"}


def figures(counts: dict[str, int]) -> dict[str, int]:
    names = ("traceback", "silent", "nameless", "refused_good", "right", "refused")
    return {"tables_total": sum(counts.values()), **{f"tables_{name}": counts[name] for name in names}}


def _outcome(reader: Callable[[Path], Any], path: Path, expected: Any) -> tuple[str, str]:
    try:
        got = reader(path)
    except EpicsubError as error:
        said = str(error)
        if str(path) not in said:
            return "nameless", said
        return ("refused" if expected is None else "refused_good"), said
    except Exception as error:
        return "traceback", repr(error)
    if expected is None:
        return "silent", "read, where it should have been refused"
    return ("right", "") if got == expected else ("silent", f"read as {str(got)[:200]}, not {str(expected)[:200]}")


def _segments(path: Path) -> list[tuple[Any, ...]]:
    return [
        (s.narration_id, s.participant_id, s.video_id, round(s.start, 3), round(s.stop, 3), s.verb_class, s.noun_class)
        for s in read_segments(path)
    ]


def _labels(path: Path) -> list[tuple[Any, ...]]:
    count = len(reference(path.read_bytes(), "labels") or []) or 24
    table = read_labels(path.parent, SegmentList(list=path.name, count=count))
    seconds = (
        [None] * len(table) if "seconds" not in table else [round(float(second), 3) for second in table["seconds"]]
    )
    columns = (table[name].tolist() for name in LISTS["labels"])
    return [(*row, second) for *row, second in zip(*columns, seconds, strict=True)]


def _info(path: Path) -> dict[str, tuple[float, float, int, int]]:
    return {name: (v.duration, v.fps, v.width, v.height) for name, v in read_video_info(path).items()}


# Table: by what rules, and with which reader.
READERS: dict[str, dict[str, Callable[[Path], Any]]] = {
    "train": {"train": _segments, "labels": _labels},
    "test": {"test": _segments},
    "info": {"info": _info},
    "classes": {"classes": read_class_names},
    "tail": {"tail": lambda path: read_classes(path, "noun"), "words": lambda path: read_ids(path, "noun")},
    "skip": {"skip": read_skip_list},
}


# What must come of it


def reference(content: bytes, name: str) -> Any:  # noqa: PLR0911  # a return per rule
    """The table as it stands, or None where it must be refused."""
    text = _decoded(content)
    if text is None:
        return None
    if name == "skip":
        words = [line.split("#")[0].strip(" \t") for line in re.split("\r\n|\r|\n", text)]
        return None if any(map(_bad_cell, words)) or any(" " in word for word in words) else set(filter(None, words))
    rows = _split(text)
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


def _split(text: str) -> list[list[str]] | None:  # noqa: PLR0912  # a branch per kind of character
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


# Ways to change a table


def _rows(text: str) -> list[list[str]]:
    return [row for row in _split(text) or [] if row] or [["x"]]


def _joined(rows: list[list[str]]) -> str:
    return "\n".join(",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows) + "\n"


def _change_cell(text: str, rng: random.Random, change: Callable[[str], str], header: bool = False) -> str:
    rows = _rows(text)
    row = rows[0] if header or len(rows) == 1 else rng.choice(rows[1:])
    place = rng.randrange(len(row))
    row[place] = change(row[place])
    return _joined(rows)


def unseen_in_a_cell(text: str, rng: random.Random) -> str:
    def change(cell: str) -> str:
        place = rng.randrange(len(cell) + 1)
        return cell[:place] + rng.choice(UNSEEN) + cell[place:]

    return _change_cell(text, rng, change, rng.random() < 0.15)


def a_column_sorted(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    place = rng.randrange(len(rows[0]))
    cells = sorted((row[place] for row in rows[1:] if len(row) > place), reverse=rng.random() < 0.5)
    for row, cell in zip((row for row in rows[1:] if len(row) > place), cells, strict=True):
        row[place] = cell
    return _joined(rows)


def a_column_moved_down(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    place = rng.randrange(len(rows[0]))
    whole = [row for row in rows[1:] if len(row) > place]
    cells = [row[place] for row in whole]
    for row, cell in zip(whole, cells[-1:] + cells[:-1], strict=True):
        row[place] = cell
    return _joined(rows)


def two_cells_exchanged(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    one, two = rng.choice(rows[1:] or rows), rng.choice(rows[1:] or rows)
    place = rng.randrange(min(len(one), len(two)))
    one[place], two[place] = two[place], one[place]
    return _joined(rows)


def a_column_twice(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    place = rng.randrange(len(rows[0]))
    return _joined([[*row, row[place] if len(row) > place else ""] for row in rows])


def a_column_away(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    place = rng.randrange(len(rows[0]))
    return _joined([row[:place] + row[place + 1 :] for row in rows])


def columns_in_another_order(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    order = rng.sample(range(len(rows[0])), len(rows[0]))
    return _joined([[row[place] for place in order] if len(row) == len(order) else row for row in rows])


def a_column_more(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    return _joined([[str(n) if n else "", *row] for n, row in enumerate(rows)])


def rows_in_another_order(text: str, rng: random.Random) -> str:
    head, *rows = _rows(text)
    return _joined([head, *rng.sample(rows, len(rows))])


def a_row_twice(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    return _joined([*rows, rng.choice(rows)])


def a_row_away(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    del rows[rng.randrange(len(rows))]
    return _joined(rows or [["x"]])


def a_row_of_nothing(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(("", ",,,", ",", '""')))
    return "\n".join(lines)


def a_row_cut(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    row = rng.choice(rows)
    del row[rng.randrange(len(row)) :]
    return _joined(rows)


def another_separator(text: str, rng: random.Random) -> str:
    return text.replace(",", rng.choice(";\t|"))


def all_quoted(text: str, rng: random.Random) -> str:
    return "\n".join(",".join(f'"{cell}"' for cell in row) for row in _rows(text)) + "\n"


def a_quote(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + '"' + text[place:]


def another_number(text: str, rng: random.Random) -> str:
    def change(cell: str) -> str:
        numbers = list(re.finditer("[0-9]+", cell))
        if not numbers:
            return cell
        found = rng.choice(numbers)
        made = rng.choice(
            (
                f"{found[0]}.0",
                f"+{found[0]}",
                f"-{found[0]}",
                f"0{found[0]}",
                f"{found[0]}e2",
                f"0x{found[0]}",
                "nan",
                "inf",
                f"{found[0]}_0",
                found[0].replace("1", "\u0661"),
                str(rng.randrange(400)),
                "9" * 30,
                "",
                f"{found[0]},0",
                "1/2",
            )
        )
        return cell[: found.start()] + made + cell[found.end() :]

    return _change_cell(text, rng, change)


def decimal_commas(text: str, rng: random.Random) -> str:
    rows = _rows(text)
    return _joined([rows[0], *([re.sub(r"(\d)\.(\d)", r"\1,\2", cell) for cell in row] for row in rows[1:])])


def another_word(text: str, rng: random.Random) -> str:
    words = ("None", "NA", "#REF!", "1899-12-30", "P99_999_9", "=A1", "x" * 140_000, "<b>", "Ä", "0")
    return _change_cell(text, rng, lambda cell: rng.choice(words), rng.random() < 0.1)


def capitals(text: str, rng: random.Random) -> str:
    return _change_cell(text, rng, str.swapcase, rng.random() < 0.3)


def other_line_ends(text: str, rng: random.Random) -> str:
    ends = rng.choice((["\r\n"], ["\r"], ["\n", "\r\n", "\r"]))
    return "".join(line + rng.choice(ends) for line in text.split("\n"))


def the_head_again(text: str, rng: random.Random) -> str:
    return text + text if rng.random() < 0.5 else text + text.split("\n", maxsplit=1)[0]


def cut_off(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(1, len(text))]


def unchanged(text: str, rng: random.Random) -> str:
    return text


def as_utf8(text: str, rng: random.Random) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def with_a_mark(text: str, rng: random.Random) -> bytes:
    return codecs.BOM_UTF8 + text.encode()


def as_utf16(text: str, rng: random.Random) -> bytes:
    return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le", "utf-16-be")))


def as_cp1252(text: str, rng: random.Random) -> bytes:
    place = rng.randrange(len(text))
    return (text[:place] + rng.choice("éüß€") + text[place:]).encode("cp1252", "replace")


def bytes_flipped(text: str, rng: random.Random) -> bytes:
    content = bytearray(text.encode())
    for _ in range(rng.choice((1, 1, 3))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def bytes_zeroed(text: str, rng: random.Random) -> bytes:
    content = bytearray(text.encode())
    place = rng.randrange(len(content))
    content[place : place + rng.randrange(1, 20)] = bytes(rng.randrange(1, 20))
    return bytes(content)


OF_TEXT = (
    unseen_in_a_cell,
    unseen_in_a_cell,
    a_column_sorted,
    a_column_moved_down,
    two_cells_exchanged,
    a_column_twice,
    a_column_away,
    columns_in_another_order,
    a_column_more,
    rows_in_another_order,
    a_row_twice,
    a_row_away,
    a_row_of_nothing,
    a_row_cut,
    another_separator,
    all_quoted,
    a_quote,
    another_number,
    another_number,
    decimal_commas,
    another_word,
    capitals,
    other_line_ends,
    the_head_again,
    cut_off,
    unchanged,
)
OF_BYTES = (with_a_mark, as_utf16, as_cp1252, bytes_flipped, bytes_flipped, bytes_zeroed)
