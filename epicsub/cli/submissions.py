"""epicsub submissions: the ledger of what was written and what was uploaded."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from epicsub.cli.options import print_whole
from epicsub.errors import SubmissionError
from epicsub.io import user_path
from epicsub.submission.ledger import COLUMNS, LEDGER, Limits, mark_uploaded, read_ledger

FOLDER = Path("submissions")


def submissions(
    uploaded: Annotated[
        str | None, typer.Option(metavar="NAME", help="Record that this submission was uploaded.")
    ] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of that upload, UTC. Default: today.")
    ] = None,
    per_day: Annotated[int, typer.Option(min=1, help="Uploads that the phase takes per day.")] = 1,
    folder: Annotated[Path, typer.Option(help="Of the submissions.")] = FOLDER,
    in_all: Annotated[int, typer.Option(min=1, help="Uploads that the phase allows.")] = 50,
) -> None:
    """List the submissions, when each was uploaded, and how many uploads are left."""
    if day and not uploaded:
        raise SubmissionError("--day is the day of an upload: give --uploaded NAME with it")
    limits = Limits(per_day, in_all)
    today = datetime.now(UTC).date()
    folder = user_path(folder)
    ledger = read_ledger(folder)
    if uploaded:
        written = mark_uploaded(ledger, uploaded, day.date() if day else today, today, limits)
        typer.echo(f"wrote {folder / LEDGER}: {written.name}, uploaded on {written.day}")
        ledger = read_ledger(folder)
    if ledger.entries:
        table = Table(box=box.SIMPLE_HEAD)
        for column in COLUMNS:
            table.add_column(column, justify="right" if column in ("segments", "filled") else "left")
        for row in ledger.rows():
            table.add_row(*row)
        print_whole(table)
    else:
        typer.echo(f"no submissions in {folder}/ yet; `epicsub submit MEMBER...` writes one")
    for line in ledger.report(today, limits):
        typer.echo(line)
