"""epicsub validate: scores as the organisers compute them, and what they are worth."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from epicsub.data.annotations import Segment
    from epicsub.data.root import DataRoot
    from epicsub.inference.targets import Target
    from epicsub.validation import Background, Model, Protocol, Reference

LOG_WIDTH = 140
"""columns of a table where no terminal says how many there are"""


def validate(
    targets: Annotated[list[str], typer.Argument(help="Checkpoints, runs, or files of predictions.")],
    protocol: ProtocolOption = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write coverage and scores to this file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page to look at, index.html, into this folder.")] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep each target's figures in runs/ beside the protocol, and a table.")
    ] = False,
    tta: TtaOption = None,
    count: CountOption = None,
    skip: SkipOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Verb, noun and action accuracy on the validation segments, and whether two targets differ by more than noise."""
    from rich.console import Console

    from epicsub.cli.options import data_root, device_of
    from epicsub.data.sampling import parse_views
    from epicsub.inference.targets import predictions_of, resolve_targets
    from epicsub.validation import (
        Model,
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
    rules_file = protocol or protocol_of(resolved)
    rules = load_protocol(rules_file)
    segments = segments_to_score(root, rules, skip)
    views = parse_views(tta) if tta else None
    chosen = device_of(device)
    reference = read_reference(rules, root.path / "annotations", count)
    background = read_background(rules, root.path / "annotations")
    console = Console(width=None if sys.stdout.isatty() else max(LOG_WIDTH, Console().width))
    models, means = [], {}
    for target in resolved:
        predicted = predictions_of(target, segments, root, views, chosen)
        evaluation = reference.evaluate(predicted)
        more = detail(predicted, reference, background, choice_notes(target, rules))
        models.append(Model(target.name, predicted, evaluation, more, metrics_of(target)))
        show(target.name, evaluation, console, more)
        if mean := tell_story(target):
            means[target.name] = mean
    first, *others = models
    differences = {other.name: compare(first.predictions, other.predictions, reference) for other in others}
    for name, (common, found) in differences.items():
        console.print(comparison(first.name, name, common, found))
    if json_file:
        details = {model.name: model.detail.as_json() for model in models}
        write_json({model.name: model.evaluation for model in models}, json_file, details, means)
        typer.echo(f"wrote {json_file}")
    if report:
        typer.echo(f"wrote {write_report(report, models, differences, rules, reference, background, segments, root)}")
    if record:
        keep_records(resolved, models, tta, rules_file.parent / "runs")


def segments_to_score(root: "DataRoot", rules: "Protocol", skip: Path | None) -> "list[Segment]":
    """The validation list without what a skip list names; says how many that leaves out."""
    from epicsub.data.annotations import read_segments, read_skip_list

    listed = read_segments(root.annotations(rules.validation.list))
    skipped = read_skip_list(skip) if skip else set()
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        typer.echo(f"{len(listed) - len(segments)} of {len(listed)} segments are named in {skip} and left out")
    return segments


def tell_story(target: "Target") -> dict[str, float] | None:
    """Print what a reader of a checkpoint's scores should know; return its mean of the last evaluations, if it has."""
    for note in target.notes():
        typer.echo(f"{target.name}: {note}")
    return (target.checkpoint and target.checkpoint.mean_of_last) or None


def write_report(
    folder: Path,
    models: "list[Model]",
    differences: dict[str, tuple[int, list[Any]]],
    rules: "Protocol",
    reference: "Reference",
    background: "Background",
    segments: "list[Segment]",
    root: "DataRoot",
) -> Path:
    """Write the page, with the middle frames of the mistakes that it shows."""
    from epicsub.data.sources import middle_frames
    from epicsub.validation import page_data, write_page

    content = page_data(models, differences, reference, background, rules.selection)
    shown = {mistake["id"] for model in content["models"] for mistake in model["mistakes"]}
    pictures = middle_frames(root, [segment for segment in segments if segment.narration_id in shown])
    return write_page(folder, content, pictures)


def keep_records(targets: "list[Target]", models: "list[Model]", tta: str | None, folder: Path) -> None:
    """Write a record a target, and the table of all."""
    from epicsub.validation import write_record, write_table

    for target, model in zip(targets, models, strict=True):
        written = write_record(target.name, model.evaluation, model.detail, story_of(target, tta), folder)
        typer.echo(f"wrote {written}")
    typer.echo(f"wrote {write_table(folder)}")


def story_of(target: "Target", tta: str | None) -> dict[str, Any]:
    """Where a target's figures come from: its content, and a checkpoint's recipe, seed, step, commit and views."""
    from epicsub.io import sha256
    from epicsub.training.checkpoint import load_checkpoint

    story: dict[str, Any] = {"kind": target.kind, "sha256": sha256(target.path)}
    if target.kind == "checkpoint":
        checkpoint = load_checkpoint(target.path)
        story |= {
            "recipe": checkpoint.recipe["name"],
            "seed": checkpoint.seed,
            "step": checkpoint.step,
            "commit": checkpoint.commit,
            "chosen_by": checkpoint.recipe["train"]["select"],
            "views": tta or checkpoint.recipe["evaluation"]["views"],
        }
    return story


def choice_notes(target: "Target", rules: "Protocol") -> tuple[str, ...]:
    """Says of a checkpoint that was chosen by the labels that are scored here, and whether the protocol allows it."""
    from epicsub.errors import ValidationError
    from epicsub.training.checkpoint import load_checkpoint
    from epicsub.validation import load_protocol

    if target.kind != "checkpoint":
        return ()
    recipe = load_checkpoint(target.path).recipe
    select, own = recipe["train"]["select"], Path(recipe["evaluation"]["protocol"])
    if select == "last":
        return ()
    try:
        if load_protocol(own).validation.list != rules.validation.list:
            return ()
    except ValidationError:
        return (f"{target.name} was chosen by {select} under {own}, which is not here to say on which list",)
    chosen = f"{target.name} was chosen by {select} on {rules.validation.list}, the list that is scored here"
    if rules.may_select(rules.validation.list):
        return (f"{chosen}, as protocol {rules.name} allows: report it on another list",)
    return (f"{chosen}: its figures are too high, and protocol {rules.name} keeps these labels for reporting",)


def metrics_of(target: "Target") -> list[dict[str, Any]]:
    """Lines of the metrics.jsonl beside a run's checkpoint; none for a file of predictions."""
    from epicsub.training.logging import read_metrics

    return read_metrics(target.path.parent / "metrics.jsonl") if target.kind == "checkpoint" else []


def protocol_of(targets: list) -> Path:
    """The protocol that the first checkpoint's recipe names, else the official one."""
    from epicsub.training.checkpoint import load_checkpoint

    for target in targets:
        if target.kind == "checkpoint":
            return Path(load_checkpoint(target.path).recipe["evaluation"]["protocol"])
    return DEFAULT_PROTOCOL
