"""epicsub data lists: the lists that a protocol makes out of published ones."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import root_to_write
from epicsub.cli.options import DataOption, LinkedOption
from epicsub.validation import load_parts, make_lists


def lists(
    protocol: Annotated[Path, typer.Argument(help="validation/ek100_shift.yaml or validation/mmsada.yaml.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of the published tables. Default: annotations/ of the data.")
    ] = None,
    data: DataOption = None,
    out: LinkedOption = None,
) -> None:
    """Make a protocol's lists under annotations/: a hold-out of whole videos, or MM-SADA's tables as CSV."""
    part = next(iter(load_parts(protocol).values()))  # parts of one file are made together
    for path, rows in make_lists(part, root_to_write(data, out, "annotations").path / "annotations", source).items():
        typer.echo(f"wrote {path}: {rows} rows")
