"""epicsub check: everything that is wrong with a submission, before the upload of the day is spent on it."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.check import check_submission
from epicsub.cli.options import CountOption, DataOption, ProtocolOption
from epicsub.io import write_text
from epicsub.text import counted


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
