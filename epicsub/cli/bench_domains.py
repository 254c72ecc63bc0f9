"""epicsub bench domains: a table of many runs."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from epicsub.cli.options import DataOption, DeviceOption, MergeOption, ShardOption, chosen_shard, print_whole
from epicsub.errors import ValidationError
from epicsub.io import write_text
from epicsub.studies.domains import OUTPUTS, DomainTable, run_domains


def domains(
    recipes: Annotated[list[Path], typer.Argument(help="Name or path of a recipe per method.")],
    protocol: Annotated[Path, typer.Option(help="Pairs of kitchens: a file with parts, or one part of it.")],
    seeds: Annotated[str, typer.Option(help="Seeds per method and pair, e.g. 1,2,3.")] = "1",
    out: Annotated[Path, typer.Option(help="Output folder, with one folder per run.")] = OUTPUTS,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for every recipe, repeatable.")] = None,
    score: Annotated[
        str | None,
        typer.Option(help="Score to tabulate. Default: top-1 of actions, or of verbs in a verb-only protocol."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
    shard: ShardOption = None,
    merge: MergeOption = None,
) -> None:
    """Train every method on every pair and seed and print the table; a killed study can be resumed."""
    if not all(seed.strip().isdecimal() for seed in seeds.split(",")):
        raise ValidationError(f"--seeds {seeds}: expected integers separated by commas, e.g. 1,2,3")
    numbers = [int(seed) for seed in seeds.split(",")]
    chosen = chosen_shard(shard, merge)
    table = run_domains(
        recipes,
        protocol,
        numbers,
        settings or [],
        out=out,
        score=score,
        data=data,
        device=device,
        shard=chosen,
        merge=merge,
    )
    if table is None:
        typer.echo(f"shard {chosen}: all its runs are done; --merge N prints the table")
        return
    _show(table)
    if json_file:
        write_text(json_file, json.dumps(table.to_json(), indent=2) + "\n")
        typer.echo(f"wrote {json_file}")


def _show(found: DomainTable) -> None:
    """Print the table: one row per method, one column per pair, ours first."""
    table = Table(box=box.SIMPLE_HEAD, title=f"{found.score}, percent; mean ± standard deviation", title_justify="left")
    table.add_column("method")
    columns = [*found.pairs, "mean"]
    for pair in columns:
        table.add_column(pair.replace("-", " → "), justify="right")
    for method, figures in found.methods.items():
        table.add_row(method, *(_cell(figures[pair]) for pair in columns))
    table.add_section()
    for method, row in found.published.items():
        table.add_row(f"published: {method}", *(f"{figure:.1f}" for figure in row))
    print_whole(table)
    if found.published and found.published_remark:
        typer.echo(found.published_remark)
    if any(figures["mean"]["failed"] for figures in found.methods.values()):
        typer.echo("Failed: the loss became NaN or infinite; means exclude failed runs.")


def _cell(found: dict[str, Any]) -> str:
    """A mean and its deviation over seeds, and how many of them failed."""
    failed = f" ({len(found['failed'])} of {len(found['seeds'])} failed)" if found["failed"] else ""
    if found["mean"] is None:
        return failed.strip(" ()")
    deviation = "" if found["deviation"] is None else f" ± {found['deviation']:.1f}"
    return f"{found['mean']:.1f}{deviation}{failed}"
