"""epicsub ensemble views: which test-time views are worth their cost."""

from typing import Annotated

import typer

from epicsub.api import plan as api
from epicsub.cli.options import DataOption, DeviceOption, JsonOption, ProtocolOption, write_json


def views(
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
        typer.echo(f"{name:24}{row.made.views:>13.1f}{row.made.seconds:>9.1f}{cells}{row.change!s:>20}")
        rows.append(row.to_json())
    typer.echo(
        "percent and points with 95 % intervals over videos; seconds of decoding and prediction when it was made"
    )
    if json_file:
        write_json(json_file, {"target": comparison.target, "segments": comparison.segments, "rows": rows})
