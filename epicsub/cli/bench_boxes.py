"""epicsub bench boxes: what a run sees of hands and objects."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DataOption, DeviceOption
from epicsub.studies.box_report import write_box_report


def boxes(
    run: Annotated[str, typer.Argument(help="A run with data.boxes: its folder, or its name under outputs/.")],
    segment: Annotated[
        list[str] | None, typer.Option(help="Narration id, may be repeated. Default: some, spread over the list.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many segments, where none is named.")] = 8,
    list_name: Annotated[
        str | None, typer.Option("--list", help="List under annotations/. Default: the validation list.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder. Default: boxes/ in the run's folder.")] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Draw boxes, slots and attention on clips: a contact sheet and a short film."""
    written = write_box_report(run, segment or [], count, list_name, out=out, data=data, device=device)
    for path in written:
        typer.echo(f"wrote {path}")
