"""epicsub validate: scores as the organisers compute them, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import validate as api
from epicsub.cli.options import (
    CountOption,
    DataOption,
    DeviceOption,
    ProtocolOption,
    SkipOption,
    TtaOption,
    print_whole,
)
from epicsub.validation import Model, comparison, show


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
) -> None:
    """Verb, noun and action accuracy on the validation segments, and whether two targets differ by more than noise."""

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
