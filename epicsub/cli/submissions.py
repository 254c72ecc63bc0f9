"""epicsub check and epicsub submissions: what is wrong with a submission, and the ledger of all."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from epicsub.api.check import check_submission
from epicsub.cli.options import CountOption, DataOption, ProtocolOption
from epicsub.errors import SubmissionError
from epicsub.io import write_text
from epicsub.submission.ledger import COLUMNS, LEDGER, Limits, mark_uploaded, read_ledger
from epicsub.text import counted

FOLDER = Path("submissions")


def submissions(
    uploaded: Annotated[
        str | None, typer.Option(metavar="NAME", help="Record that this submission was uploaded.")
    ] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of that upload, UTC. Default: today.")
    ] = None,
    per_day: Annotated[int, typer.Option(min=1, help="Uploads that the phase takes per day.")] = 1,
    in_all: Annotated[int, typer.Option(min=1, help="Uploads that the phase allows.")] = 50,
) -> None:
    """List the submissions, when each was uploaded, and how many uploads are left."""
    if day and not uploaded:
        raise SubmissionError("--day is the day of an upload: give --uploaded NAME with it")
    limits = Limits(per_day, in_all)
    today = datetime.now(UTC).date()
    ledger = read_ledger(FOLDER)
    if uploaded:
        written = mark_uploaded(ledger, uploaded, day.date() if day else today, today, limits)
        typer.echo(f"wrote {FOLDER / LEDGER}: {written.name}, uploaded on {written.day}")
        ledger = read_ledger(FOLDER)
    if ledger.entries:
        table = Table(box=box.SIMPLE_HEAD)
        for column in COLUMNS:
            table.add_column(column, justify="right" if column in ("segments", "filled") else "left")
        for row in ledger.rows():
            table.add_row(*row)
        Console().print(table)
    else:
        typer.echo(f"no submissions in {FOLDER}/ yet; `epicsub submit MEMBER...` writes one")
    for line in ledger.report(today, limits):
        typer.echo(line)


def check(
    submission: Annotated[Path, typer.Argument(help="submission.pt, submission.zip or submission_json.zip.")],
    test_list: Annotated[
        Path | None, typer.Option(help="CSV of the segments. Default: the protocol's, if it is there.")
    ] = None,
    protocol: ProtocolOption = None,
    count: CountOption = None,
    ids_file: Annotated[
        Path | None,
        typer.Option("--ids", help="Write all missing, unexpected and repeated narration ids to this file."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Reopen a submission and list everything that is wrong with it."""
    found = check_submission(submission, test_list, protocol=protocol, data=data, count=count)
    if ids_file:
        lines = [f"{kind} {name}" for kind, names in found.ids.items() for name in names]
        write_text(ids_file, "".join(f"{line}\n" for line in lines))
        typer.echo(f"wrote {ids_file}: {len(lines)} narration ids")
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    for problem in found.problems:
        typer.echo(f"problem: {problem}", err=True)
    if found.problems:
        problems = counted(len(found.problems), "problem", "problems")
        typer.echo(f"{submission}: {problems}; do not upload it", err=True)
        raise typer.Exit(2)
    typer.echo(f"{submission}: good, checked against {found.against}")
