"""epicsub check: everything that is wrong with a submission, before the upload of the day is spent on it."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import DEFAULT_PROTOCOL, CountOption, DataOption, ProtocolOption


def check(
    submission: Annotated[Path, typer.Argument(help="submission.pt, submission.zip or submission_json.zip.")],
    test_list: Annotated[
        Path | None, typer.Option(help="CSV of the segments. Default: the protocol's, if it is there.")
    ] = None,
    protocol: ProtocolOption = None,
    count: CountOption = None,
    data: DataOption = None,
) -> None:
    """Reopen a submission and say everything that is wrong with it at once."""
    from epicsub.cli.options import data_root
    from epicsub.data.annotations import read_segments
    from epicsub.submission import check_submission
    from epicsub.validation import load_protocol

    rules = load_protocol(protocol or DEFAULT_PROTOCOL)
    path = test_list or data_root(data).path / "annotations" / rules.test.list
    ids = [segment.narration_id for segment in read_segments(path)] if test_list or path.is_file() else None
    findings = check_submission(submission, ids, count or rules.test.count)
    for warning in findings.warnings:
        typer.echo(f"warning: {warning}")
    for problem in findings.problems:
        typer.echo(f"problem: {problem}", err=True)
    if findings.problems:
        typer.echo(f"{submission}: {len(findings.problems)} problems; do not upload it", err=True)
        raise typer.Exit(2)
    against = f"the {len(ids)} ids of {path}" if ids is not None else f"the count alone ({path} is not there)"
    typer.echo(f"{submission}: good, checked against {against}")
