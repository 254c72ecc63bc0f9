"""epicsub ensemble: which members are worth their cost, and which views."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import plan as api
from epicsub.cli.options import DataOption, DeviceOption, ProtocolOption, TtaOption, write_json

MEMBERS = typer.Argument(help="Checkpoints, runs, or files of predictions (VALIDATION.npz,TEST.npz for two lists).")
RuleOption = Annotated[
    str, typer.Option(help="mean of probabilities, logits (the mean of logits, which is the geometric mean), or rank.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]


def plan_members(
    members: Annotated[list[str], MEMBERS],
    rule: RuleOption = "mean",
    tta: TtaOption = None,
    json_file: JsonOption = None,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Rank members by what each adds to those before it, cross-validated over kitchens."""
    plan = api.plan(members, rule=rule, tta=tta, protocol=protocol, data=data, device=device)
    typer.echo(f"{plan.segments} segments of {plan.protocol.validation.list}, {plan.folds} folds of whole kitchens")
    typer.echo(f"{'':3}{'member':24}{'verb':>18}{'noun':>18}{'action':>18}{'adds':>20}  in words, and folds that agree")
    for number, place in enumerate(plan.places, start=1):
        alone = "".join(f"{place.alone[figure]!s:>18}" for figure in ("verb@1", "noun@1", "action@1"))
        word = place.verdict if number > 1 else "first"
        typer.echo(f"{number:<3}{place.name:24}{alone}{place.adds!s:>20}  {word}, {place.agreed} of {plan.folds}")
    for line in plan.choice.report(plan.names):
        typer.echo(line)
    if json_file:
        write_json(json_file, plan.to_json())


def views_table(
    target: Annotated[str, typer.Argument(help="A checkpoint or a run.")],
    tta: Annotated[list[str] | None, typer.Option("--tta", help="Views to try; repeatable.")] = None,
    stop: Annotated[
        list[int] | None,
        typer.Option("--stop", min=0, max=5, help="Also with early stopping at K; repeatable."),
    ] = None,
    json_file: JsonOption = None,
    protocol: ProtocolOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Accuracy against cost of test-time views on the validation list."""
    comparison = api.compare_views(
        target, tta or api.VIEWS_TRIED, stop or (), protocol=protocol, data=data, device=device
    )
    titles = "".join(f"{title:>20}" for title in ("verb", "noun", "action", "less the first"))
    typer.echo(f"{'views':24}{'per segment':>13}{'seconds':>9}{titles}")
    rows = []
    for row in comparison.rows:
        name = f"{row.views} --stop {row.stop}" if row.stop else str(row.views)
        cells = "".join(f"{row.figures[figure]!s:>20}" for figure in ("verb@1", "noun@1", "action@1"))
        typer.echo(f"{name:24}{row.made.views:>10.1f}{row.made.seconds:>9.1f}{cells}{row.change!s:>20}")
        rows.append(row.to_json())
    typer.echo(
        "percent and points with 95 % intervals over videos; seconds of decoding and prediction when it was made"
    )
    if json_file:
        write_json(json_file, {"target": comparison.target, "segments": comparison.segments, "rows": rows})
