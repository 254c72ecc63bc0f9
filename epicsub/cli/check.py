"""epicsub check: everything that is wrong with a submission, before the upload of the day is spent on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epicsub.cli.options import DEFAULT_PROTOCOL, CountOption, DataOption, ProtocolOption

if TYPE_CHECKING:
    from epicsub.validation import Protocol


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
    """Reopen a submission and say everything that is wrong with it at once."""
    from epicsub.cli.options import data_root
    from epicsub.data.annotations import read_segments
    from epicsub.io import write_text
    from epicsub.submission import check_submission
    from epicsub.validation import load_protocol

    rules = load_protocol(protocol or DEFAULT_PROTOCOL)
    folder = data_root(data).path / "annotations"
    path = test_list or folder / rules.test.list
    segments = read_segments(path) if test_list or path.is_file() else None
    ids = None if segments is None else [segment.narration_id for segment in segments]
    if segments and segments[0].verb_class is not None:
        typer.echo(f"warning: {path} has labels; the test list of the challenge has none")
    findings = check_submission(
        submission, ids, count or rules.test.count, challenge=rules.challenge, other_lists=labelled_ids(rules, folder)
    )
    if ids_file:
        lines = [f"{kind} {name}" for kind, names in findings.ids.items() for name in names]
        write_text(ids_file, "".join(f"{line}\n" for line in lines))
        typer.echo(f"wrote {ids_file}: {len(lines)} narration ids")
    for warning in findings.warnings:
        typer.echo(f"warning: {warning}")
    for problem in findings.problems:
        typer.echo(f"problem: {problem}", err=True)
    if findings.problems:
        number = len(findings.problems)
        typer.echo(f"{submission}: {number} problem{'s' * (number > 1)}; do not upload it", err=True)
        raise typer.Exit(2)
    against = f"the {len(ids)} ids of {path}" if ids is not None else f"the count alone ({path} is not there)"
    typer.echo(f"{submission}: good, checked against {against}")


def labelled_ids(rules: "Protocol", folder: Path) -> dict[str, list[str]]:
    """Narration ids of the protocol's labelled lists, as far as they are there: what is not to be sent."""
    from epicsub.data.annotations import read_ids

    names = [name for name in (rules.validation.list, rules.training_list) if (folder / name).is_file()]
    return {name: read_ids(folder / name, "narration_id") for name in names}
