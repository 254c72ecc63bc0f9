"""Recipes, changed in one to three ways each: loaded, or refused in one report that names the file and each problem.

Where keys were misspelt on purpose the report must name every one of them: one at a time would cost a run for each.
Loaded recipes must be written out and read again alike.
"""

import logging
import random
import re
from collections.abc import Callable
from pathlib import Path

from epicsub.errors import RecipeError
from epicsub.io import shipped
from epicsub.recipe import load_recipe

TOTAL = 2000
MUST_BE_ZERO = ("traceback", "nameless", "partial", "silent", "changed")
CLOSING = re.compile(r"\((1 problem|\d+ problems), nothing was started\)$")
VALUES = (
    "null",
    "[]",
    "{}",
    "-1",
    "0",
    "1e999",
    ".nan",
    ".inf",
    "-.inf",
    "'text'",
    "true",
    "yes",
    "9" * 5000,
    "1e-400",
    "0x10",
    "1_000",
    "010",
    "1:30",
    "2001-01-01",
    "[1, 2, [3, [4]]]",
    "{a: {b: c}}",
    "''",
    "!!python/object:os.system x",
    "!!binary aGk=",
    "&a 1",
    "*a",
    "<<",
    "|\n  text",
    ">-\n  text",
    '"\\u0000"',
    "'../../etc/passwd'",
    "\u00a0",
    "\u200b1",
    "\uff11",
    "~",
    "@x",
    "`x`",
    "%x",
    "- 1",
    "? a",
    "x: y: z",
    "[1, 2",
    "{a: 1",
    '"open',
    "'open",
    "[" * 3000,
    "{a: " * 300,
    "-0",
    "1.5",
    "1" * 400,
    ".5.5",
)
OVERRIDES = (
    "train",
    "=",
    "=3",
    "train.=3",
    ".=3",
    "train.stages.99.steps=3",
    "train.stages.x=3",
    "seed=",
    "seed=null",
    "seed=[",
    "seed=1",
    "seed=" + "9" * 5000,
    "name.x=3",
    "train.stages=3",
    "model=",
    "a.b.c.d=3",
    "seed=2",
    "data.frames=-4",
    "x=*a",
    "data.root=\u0000",
    "seed=1e3",
    "seed=1_0",
    "\u200bseed=1",
    "seed =1",
    "seed==1",
    "model.name=mmir",
    "seed=" + "[" * 2000,
)


def prepare(folder: Path) -> None:
    (folder / "inputs").mkdir(exist_ok=True)
    for path in sorted(shipped("recipes").rglob("*.yaml")):
        (folder / "inputs" / "_".join(path.relative_to(shipped("recipes")).parts)).write_bytes(path.read_bytes())


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    logging.getLogger("epicsub").setLevel(logging.ERROR)
    name = rng.choice(sorted(path.name for path in (folder / "inputs").iterdir()))
    text = (folder / "inputs" / name).read_text(encoding="utf-8")
    misspelt: list[str] = []
    done = []
    if rng.random() < 0.2:
        text, misspelt = keys_misspelt(text, rng)
        done.append("keys_misspelt")
    else:
        for _ in range(rng.choice((1, 1, 2, 3))):
            way = rng.choice(OF_TEXT)
            text, done = way(text or "\n", rng), [*done, way.__name__]
    way = rng.choice(OF_BYTES) if not misspelt and rng.random() < 0.25 else as_utf8
    path = folder / "scratch" / name
    path.write_bytes(way(text, rng))
    overrides = rng.sample(OVERRIDES, rng.choice((1, 2))) if not misspelt and rng.random() < 0.25 else []
    detail = f"{name}: {', '.join(done)}, {way.__name__}, {[word[:30] for word in overrides]}"
    try:
        loaded = load_recipe(path, overrides)
    except RecipeError as error:
        outcome = _of_report(str(error), path, misspelt)
        return {"outcome": outcome, "detail": f"{detail}: {str(error)[:500]}"}
    except Exception as error:
        return {"outcome": "traceback", "detail": f"{detail}: {error!r:.500}"}
    if misspelt:
        return {"outcome": "silent", "detail": f"{detail}: loaded with the keys {misspelt}"}
    again = folder / "scratch" / "again.yaml"
    again.write_text(loaded.to_yaml(), encoding="utf-8")
    try:
        same = load_recipe(again).recipe == loaded.recipe
    except RecipeError as error:
        return {"outcome": "changed", "detail": f"{detail}: what was loaded cannot be read again: {error}"}
    return {"outcome": "loaded" if same else "changed", "detail": detail}


def figures(counts: dict[str, int]) -> dict[str, int]:
    names = {"traceback": "tracebacks", **{name: name for name in (*MUST_BE_ZERO[1:], "loaded", "refused")}}
    return {
        "recipe_total": sum(counts.values()),
        **{f"recipe_{figure}": counts[name] for name, figure in names.items()},
    }


def _of_report(report: str, path: Path, misspelt: list[str]) -> str:
    if str(path) not in report and "command line" not in report:
        return "nameless"
    lines = report.splitlines()
    if len(lines) > 1:
        closing = CLOSING.search(lines[-1])
        if not closing or "Traceback" in report or len(report) > 50_000:
            return "nameless"
    return "partial" if any(key not in report for key in misspelt) else "refused"


# Ways to change a recipe


def keys_misspelt(text: str, rng: random.Random) -> tuple[str, list[str]]:
    """Between one and four keys, each on a line of its own, with a letter doubled, left out or exchanged."""
    lines = text.split("\n")
    places = [n for n, line in enumerate(lines) if re.match(r"\s*[a-z_]{5,}: *[^\s{\[|>#]", line)]
    made = []
    for place in rng.sample(places, min(len(places), rng.choice((1, 2, 4)))):
        found = re.search("[a-z_]{5,}(?=:)", lines[place])
        assert found
        key = found[0]
        letter = rng.randrange(1, len(key) - 1)
        wrong = rng.choice((key[:letter] + "q" + key[letter:], key[:letter] + "zz" + key[letter + 1 :], key + "q"))
        lines[place] = lines[place][: found.start()] + wrong + lines[place][found.end() :]
        made.append(wrong)
    return "\n".join(lines), made


def a_value_changed(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    places = [n for n, line in enumerate(lines) if re.match(r"\s*(- )?[a-z_]+:", line)]
    place = rng.choice(places) if places else 0
    lines[place] = lines[place].partition(":")[0] + ": " + rng.choice(VALUES)
    return "\n".join(lines)


def a_line_away(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    del lines[rng.randrange(len(lines))]
    return "\n".join(lines)


def a_line_twice(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    return "\n".join([*lines[:place], lines[place], *lines[place:]])


def a_line_moved(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
    return "\n".join(lines)


def a_line_more(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    word = rng.choice(
        (
            "unknown: 1",
            "---",
            "...",
            "%YAML 1.1",
            "  deep: 1",
            "- 1",
            "<<: *a",
            "? x",
            "!!map",
            "#",
            "\tx: 1",
            "1: 2",
            "null: 3",
            "[a]: 1",
            "true: 1",
            "train: {}",
            "? [a, b]\n: c",
        )
    )
    lines.insert(rng.randrange(len(lines) + 1), word)
    return "\n".join(lines)


def an_indent_changed(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    place = rng.randrange(len(lines))
    lines[place] = (
        rng.choice((" ", "  ", "\t", "\u00a0", "    ")) + lines[place] if rng.random() < 0.6 else lines[place].lstrip()
    )
    return "\n".join(lines)


def a_character_changed(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return (
        text[:place]
        + rng.choice(":-{}[],&*#?|>'\"%@`!\t\n \u00a0\u200b\ufeff\u2028\u0000\u0007é\U0001f600")
        + text[place + 1 :]
    )


def a_character_away(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + text[place + 1 :]


def cut_off(text: str, rng: random.Random) -> str:
    return text[: rng.randrange(len(text) + 1)]


def another_part(text: str, rng: random.Random) -> str:
    return rng.choice(
        (text + text, "", "null", "[]", "3", "text", f"- {text}", f"x:\n{text}", "{}", "{" * 500, "a: &a [*a]")
    )


def capitals(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + text[place : place + 8].swapcase() + text[place + 8 :]


def unchanged(text: str, rng: random.Random) -> str:
    return text


def as_utf8(text: str, rng: random.Random) -> bytes:
    return text.encode()


def with_a_mark(text: str, rng: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + text.encode()


def as_utf16(text: str, rng: random.Random) -> bytes:
    return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le")))


def as_latin1(text: str, rng: random.Random) -> bytes:
    return f"# caf\u00e9\n{text}".encode("latin-1", "replace")


def other_line_ends(text: str, rng: random.Random) -> bytes:
    return text.replace("\n", rng.choice(("\r\n", "\r"))).encode()


def flipped(text: str, rng: random.Random) -> bytes:
    content = bytearray(text.encode() or b"x")
    for _ in range(rng.choice((1, 3))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


Change = Callable[[str, random.Random], str]
OF_TEXT: tuple[Change, ...] = (
    a_value_changed,
    a_value_changed,
    a_value_changed,
    a_line_away,
    a_line_twice,
    a_line_moved,
    a_line_more,
    a_line_more,
    an_indent_changed,
    a_character_changed,
    a_character_changed,
    a_character_away,
    cut_off,
    another_part,
    capitals,
    unchanged,
)
OF_BYTES = (with_a_mark, as_utf16, as_latin1, other_line_ends, flipped, flipped)
