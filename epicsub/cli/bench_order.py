"""epicsub bench order: figures of a pre-training by order."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DataOption
from epicsub.studies.order import write_order_report


def order(
    run: Annotated[str, typer.Argument(help="A pre-training: its folder, or its name under outputs/.")],
    out: Annotated[Path | None, typer.Option(help="Output folder. Default: order/ in the run's folder.")] = None,
    clips: Annotated[int, typer.Option(min=1, help="Shuffled clips per group.")] = 3,
    data: DataOption = None,
) -> None:
    """Draw probability and error of each group of permutations by step, and clips shuffled by each."""
    for path in write_order_report(run, out=out, clips=clips, data=data):
        typer.echo(f"wrote {path}")
