"""epicsub validate: scores as the organisers compute them."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.cli.options import (
    DEFAULT_PROTOCOL,
    CountOption,
    DataOption,
    DeviceOption,
    ProtocolOption,
    SkipOption,
    TtaOption,
)


def validate(
    targets: Annotated[list[str], typer.Argument(help="Checkpoints, runs, or files of predictions.")],
    protocol: ProtocolOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write coverage and scores to this file.")] = None,
    tta: TtaOption = None,
    count: CountOption = None,
    skip: SkipOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Verb, noun and action accuracy on the validation segments, and whether two targets differ by more than noise."""
    from rich.console import Console

    from epicsub.cli.options import data_root, device_of
    from epicsub.data.annotations import read_segments, read_skip_list
    from epicsub.data.views import parse_views
    from epicsub.inference.targets import predictions_of, resolve_targets
    from epicsub.validation import (
        compare,
        comparison,
        detail,
        load_protocol,
        read_background,
        read_reference,
        show,
        write_json,
    )

    resolved = resolve_targets(targets)
    root = data_root(data)
    rules = load_protocol(protocol or protocol_of(resolved))
    listed = read_segments(root.annotations(rules.validation.list))
    skipped = read_skip_list(skip) if skip else set()
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        typer.echo(f"{len(listed) - len(segments)} of {len(listed)} segments are named in {skip} and left out")
    views = parse_views(tta) if tta else None
    chosen = device_of(device)
    reference = read_reference(rules, root.path / "annotations", count)
    background = read_background(rules, root.path / "annotations")
    console = Console()
    predicted, evaluations, details = {}, {}, {}
    for target in resolved:
        name = target.name
        predicted[name] = predictions_of(target, segments, root, views, chosen)
        evaluations[name] = reference.evaluate(predicted[name])
        details[name] = detail(predicted[name], reference, background)
        show(name, evaluations[name], console, details[name])
    first, *others = predicted
    for other in others:
        console.print(comparison(first, other, *compare(predicted[first], predicted[other], reference)))
    if json_file:
        write_json(evaluations, json_file, {name: more.as_json() for name, more in details.items()})
        typer.echo(f"wrote {json_file}")


def protocol_of(targets: list) -> Path:
    """The protocol that the first checkpoint's recipe names, else the official one."""
    from epicsub.training.checkpoint import load_checkpoint

    for target in targets:
        if target.kind == "checkpoint":
            return Path(load_checkpoint(target.path).recipe["evaluation"]["protocol"])
    return DEFAULT_PROTOCOL
