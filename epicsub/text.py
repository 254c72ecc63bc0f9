"""Numbers, characters and lists of problems in sentences."""

import unicodedata
from collections.abc import Iterable, Sequence

_BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u2800\u3164\uffa0"
"""Characters that Unicode counts as letters or marks, and that show nothing: fillers, joiners, an empty cell."""


def counted(number: int, one: str, many: str) -> str:
    """Format a count with its noun: `1 segment is`, `3 segments are`.

    Args:
        number: The count.
        one: Words after 1.
        many: Words after any other number.

    Returns:
        The number and its words.
    """
    return f"1 {one}" if number == 1 else f"{number} {many}"


def first_of(names: Sequence[str], shown: int = 5) -> str:
    """List the first of many names.

    Args:
        names: any number.
        shown: how many to show.

    Returns:
        `a, b, c, ...`
    """
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def name_some(names: Iterable[str], limit: int = 10) -> str:
    """List names: `a, b, c`, or the first ten of many and how many there are.

    Args:
        names: any number.
        limit: how many are shown.

    Returns:
        A line.
    """
    every = [str(name) for name in names]
    shown = ", ".join(every[:limit])
    return shown if len(every) <= limit else f"{shown}, ... ({len(every)} in all)"


def others_than(present: Iterable[str], needed: Iterable[str]) -> str:
    """Show what a file has in place of the narration ids that it lacks, to be read beside these.

    Args:
        present: narration ids of the file.
        needed: narration ids that were looked for.

    Returns:
        The end of a sentence about the file; empty where it has no others.
    """
    looked_for = set(needed)
    others = [name for name in present if name not in looked_for]
    if not others:
        return ""
    alike = {name.strip().casefold() for name in others} & {name.casefold() for name in looked_for}
    hint = ", alike but for blanks or capitals" if alike else ""
    return f"; it has {counted(len(others), 'other', 'others')}{hint}: {name_some(map(ascii, others), 3)}"


def sized(size: float) -> str:
    """Format a size: `3.2 MB`, `24.3 GB`.

    Args:
        size: In bytes.

    Returns:
        The size in MB or GB, powers of 1000.
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def join_problems(problems: Sequence[str], outcome: str) -> str:
    """Join all problems of one thing, with their number and what came of them in a last line.

    Args:
        problems: One or more lines each.
        outcome: What followed, e.g. `nothing was started`.

    Returns:
        The message.
    """
    return "\n".join(problems) + f"\n({counted(len(problems), 'problem', 'problems')}, {outcome})"


def invisible_in(text: str) -> list[str]:
    """Find characters that do not show: blanks at either end, any other kind of blank, zero-width and control ones.

    Args:
        text: A value, such as a narration id.

    Returns:
        The name of each such character, once; empty where every character shows.
    """
    found = ["blank at its beginning"] if text[:1] == " " else []
    found += ["blank at its end"] if text[-1:] == " " else []
    if not (text.isascii() and text.isprintable()):
        found += dict.fromkeys(_name_character(character) for character in text if not _shows(character))
    return found


def _shows(character: str) -> bool:
    variation = "\ufe00" <= character <= "\ufe0f"
    return character == " " or (character.isprintable() and not variation and character not in _BLANK_LETTERS)


def _name_character(character: str) -> str:
    name = {"\t": "tab", "\n": "line end", "\r": "line end"}.get(character)
    name = name or unicodedata.name(character, "control character" if ord(character) < 160 else "character").lower()
    return f"{name} (U+{ord(character):04X})"
