"""epicsub data boxes: hands and objects of every frame, one file a video."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import root_to_write
from epicsub.cli.options import DataOption, LinkedOption
from epicsub.data.boxes.convert import convert_boxes
from epicsub.data.boxes.store import FOLDER
from epicsub.text import counted


def boxes(
    data: DataOption = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of the official pickles, or raw rows. Default: the data root.")
    ] = None,
    out: LinkedOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace boxes made of another file.")] = False,
) -> None:
    """Hands and objects of every frame from the official pickles, one file per video; what is whole is skipped."""
    root = root_to_write(data, out, FOLDER)
    summary = convert_boxes(root, source, workers, overwrite)
    for note in summary.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"boxes: {counted(summary.converted, 'video', 'videos')} converted, {counted(summary.kept, 'was', 'were')} "
        f"there, {summary.seconds:.0f} s"
    )
