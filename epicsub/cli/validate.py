"""epicsub validate: scores as the organisers compute them, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from epicsub.api import validate as api
from epicsub.api.label_free import validate_label_free
from epicsub.cli.options import (
    CountOption,
    DataOption,
    DeviceOption,
    ProtocolOption,
    SkipOption,
    TtaOption,
    print_whole,
)
from epicsub.errors import ValidationError
from epicsub.validation import Model, comparison, show
from epicsub.validation.label_free import SCORES, LabelFree


def validate(
    targets: Annotated[list[str], typer.Argument(help="Checkpoints, runs, or files of predictions.")],
    protocol: ProtocolOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write coverage and scores to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report to this folder.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write each target's figures, and a table, to runs/ beside the protocol.")
    ] = False,
    record_to: Annotated[Path | None, typer.Option(help="Record in this folder instead.")] = None,
    tta: TtaOption = None,
    count: CountOption = None,
    skip: SkipOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
    held_out: Annotated[
        str | None,
        typer.Option(
            "--label-free",
            metavar="LIST",
            help="Read no validation label: score by entropy and others, after a temperature fitted on LIST, a "
            "labelled list of the source that was not trained on.",
        ),
    ] = None,
) -> None:
    """Verb, noun and action accuracy on the validation segments, and whether two targets differ by more than noise."""
    if held_out is not None:
        given = {"--report": report, "--record": record, "--record-to": record_to, "--count": count}
        if asked := [name for name, value in given.items() if value]:
            raise ValidationError(
                f"--label-free has no {' and no '.join(asked)}: they are about scores by labels, leave them out"
            )
        _label_free(targets, held_out, protocol, data, tta, skip, device, json_file)
        return

    def show_model(model: Model) -> None:
        print_whole(*show(model.name, model.evaluation, model.detail))
        for note in model.notes:
            typer.echo(f"{model.name}: {note}")

    found = api.validate(targets, protocol, data, tta=tta, count=count, skip=skip, device=device, on_model=show_model)
    for name, (common, differences) in found.comparisons.items():
        print_whole(comparison(found.models[0].name, name, common, differences))
    written = []
    if json_file:
        found.write_json(json_file)
        written.append(json_file)
    if report:
        written.append(found.write_report(report))
    if record or record_to:
        written += found.write_records(record_to)
    for path in written:
        typer.echo(f"wrote {path}")


def _label_free(
    targets: list[str],
    held_out: str,
    protocol: str | None,
    data: Path | None,
    tta: str | None,
    skip: Path | None,
    device: str,
    json_file: Path | None,
) -> None:
    """Print label-free scores, a row a target; the highest of each has a star."""

    def note(name: str, found: LabelFree) -> None:
        fitted = ", ".join(f"{task} {value:.2f}" for task, value in found.temperatures.items())
        typer.echo(f"{name}: temperatures {fitted}")

    found = validate_label_free(targets, held_out, protocol, data, tta=tta, skip=skip, device=device, on_model=note)
    lists = found.lists
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("higher is better")
    for score in SCORES:
        table.add_column(score, justify="right")
    best = found.best
    for name, of in found.models.items():
        table.add_row(name, *(f"{of.scores[score]:.3f}{'*' if best[score] == name else ' '}" for score in SCORES))
    print_whole(
        f"{len(lists.target)} segments of {lists.target_list}, no label of which was read; temperatures, DEV and SRC "
        f"by {len(lists.held_out)} of {lists.held_out_list}",
        table,
        "Choose by PRIOR or ENT, and by ENT within one method only; IM and BNM want all classes alike, which kitchens "
        "are not.",
    )
    if json_file:
        found.write_json(json_file)
        typer.echo(f"wrote {json_file}")
