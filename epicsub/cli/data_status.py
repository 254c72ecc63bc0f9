"""epicsub data status: what there is, on one screen."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from epicsub.api.status import data_status
from epicsub.cli.options import DataOption, print_whole
from epicsub.text import counted, sized


def status(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe to report missing data for.")] = None,
    data: DataOption = None,
) -> None:
    """Report annotations, videos, flow, prepared store and features: coverage, size, and what a recipe lacks."""
    status = data_status(recipe, data=data)
    lists = ", ".join(f"{name} {count}" for name, count in status.lists.items())
    videos = counted(status.videos, "video", "videos")
    segments = counted(status.segments, "segment", "segments")
    typer.echo(f"{status.root.path}: {segments} of {videos} ({lists or 'no lists of segments'})")
    table = Table("data", "videos", "segments", "size")
    for form in status.forms:
        size = "single files" if form.size is None else sized(form.size)
        counts = (_share(form.videos, status.videos), _share(form.segments, status.segments))
        table.add_row(form.name, *counts, size)
    print_whole(table)
    for note in status.notes:
        typer.echo(f"note: {note}")
    if recipe:
        typer.echo(f"for {recipe}:")
        for line in status.recipe_lines:
            typer.echo(f"  {line}")


def _share(part: int | None, whole: int) -> str:
    """Like 12 of 700 (1.7 %); empty where it is not known."""
    return "" if part is None else f"{part} of {whole} ({100 * part / max(1, whole):.1f} %)"
