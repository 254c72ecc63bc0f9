"""epicsub submissions: the ledger of what was written and what was uploaded."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from epicsub.submission.ledger import Entry, Ledger

FOLDER = Path("submissions")


def submissions(
    uploaded: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write down that this submission was uploaded.")
    ] = None,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of that upload, UTC. Default: today.")
    ] = None,
    per_day: Annotated[int, typer.Option(min=1, help="Uploads that the phase takes a day.")] = 1,
    in_all: Annotated[int, typer.Option(min=1, help="Uploads that the phase takes in all.")] = 50,
) -> None:
    """List the submissions, when each was uploaded, and how many uploads are left."""
    from datetime import UTC

    from rich.console import Console

    from epicsub.errors import SubmissionError
    from epicsub.submission.json_zip import CHALLENGES
    from epicsub.submission.ledger import Limits, mark_uploaded, read_ledger

    if day and not uploaded:
        raise SubmissionError("--day is the day of an upload: give --uploaded NAME with it")
    limits = Limits(per_day, in_all)
    today = datetime.now(UTC).date()
    ledger = read_ledger(FOLDER)
    if uploaded:
        written = mark_uploaded(ledger, uploaded, day.date() if day else today, today, limits)
        typer.echo(f"wrote {FOLDER / 'uploads.json'}: {written.name}, uploaded on {written.day}")
        ledger = read_ledger(FOLDER)
    if not ledger.entries:
        typer.echo(f"no submissions in {FOLDER}/ yet; `epicsub submit MEMBER...` writes one")
    else:
        Console().print(_table(ledger))
    used = {upload.challenge for upload in ledger.uploads} | {entry.challenge for entry in ledger.entries}
    for challenge in sorted(used or {CHALLENGES[0]}):
        typer.echo(ledger.left(challenge, today, limits))
    if forgotten := _not_there(ledger):
        typer.echo(f"uploaded, but no longer as it lies there: {', '.join(forgotten)}")


def _table(ledger: "Ledger") -> "object":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in ("submission", "members", "segments", "filled", "validation", "sls pt/tl/td", "uploaded"):
        table.add_column(column, justify="right" if column in ("segments", "filled") else "left")
    for entry in ledger.entries:
        table.add_row(*_cells(entry), ", ".join(upload.day for upload in ledger.of(entry)) or "no")
    return table


def _cells(entry: "Entry") -> list[str]:
    manifest = entry.manifest
    filled = {name for names in manifest.get("filled_with_prior", {}).values() for name in names}
    return [
        entry.name,
        ", ".join(str(member.get("name")) for member in manifest["members"]),
        str(manifest.get("segments", {}).get("written", "")),
        str(len(filled) or ""),
        _validation(manifest),
        "/".join(str(manifest.get("levels", {}).get(f"sls_{kind}", "?")) for kind in ("pt", "tl", "td")),
    ]


def _validation(manifest: dict) -> str:
    """Action top-1 of each member and its interval, as far as they are recorded."""
    name = "all_action_accuracy_at_1"
    shown = []
    for record in (record for member in manifest["members"] for record in member.get("validation", [])):
        if name in record["scores"]:
            low, high = record["intervals"].get(name, (None, None))
            between = f" ({low:.1f} to {high:.1f})" if low is not None else ""
            shown.append(f"{record['scores'][name]:.1f}{between}")
    return " / ".join(shown)


def _not_there(ledger: "Ledger") -> list[str]:
    there = {entry.manifest_sha256 for entry in ledger.entries}
    return [f"{upload.name} ({upload.day})" for upload in ledger.uploads if upload.manifest_sha256 not in there]
