"""Printing tables: names, ids and paths are what the next command needs, so nothing is cut or folded."""

from rich.console import Console, RenderableType
from rich.measure import Measurement

_ANY_WIDTH = 10_000


def print_whole(*parts: RenderableType) -> None:
    """Print tables and lines as wide as they are; a terminal that is narrower wraps them itself.

    Args:
        parts: what rich can print; text as it is, without markup.
    """
    terminal = Console()
    wide = Console(width=_ANY_WIDTH)
    for part in parts:
        needed = Measurement.get(wide, wide.options, part).maximum
        console = Console(width=max(terminal.width, needed))
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))
