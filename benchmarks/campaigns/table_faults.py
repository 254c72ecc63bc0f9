"""Ways to change the text of an annotation table, and its bytes."""

import codecs
import random
import re
from collections.abc import Callable

from benchmarks.campaigns.table_rules import UNSEEN, split


def _rows(text: str) -> list[list[str]]:
    return [row for row in split(text) or [] if row] or [["x"]]


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
