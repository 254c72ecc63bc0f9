"""Numbers in sentences."""

from collections.abc import Sequence


def counted(number: int, one: str, many: str) -> str:
    """`1 segment is`, `3 segments are`."""
    return f"1 {one}" if number == 1 else f"{number} {many}"


def sized(size: float) -> str:
    """Bytes as people say them: `3.2 MB`, `24.3 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def all_told(problems: Sequence[str], outcome: str) -> str:
    """All problems of one thing, a line or more each, then how many and what came of them."""
    return "\n".join(problems) + f"\n({counted(len(problems), 'problem', 'problems')}, {outcome})"
