"""epicsub bench domains: a table of many runs."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from epicsub.api.common import data_root, device_of
from epicsub.api.train import train
from epicsub.cli.options import DataOption, DeviceOption
from epicsub.errors import EpicsubError, NotFiniteError, TrainingError, ValidationError
from epicsub.inference.targets import predictions_of, resolve_target
from epicsub.io import write_text
from epicsub.studies.domains import Run, pairs_of, plan, published, read_result, summary, write_result
from epicsub.training.loaders import skipped_ids
from epicsub.training.preflight import prepare
from epicsub.validation import evaluate, load_protocol

WIDTH = 160
"""columns of the table where no terminal says how many there are"""


def domains(
    recipes: Annotated[list[Path], typer.Argument(help="Name or path of a recipe per method.")],
    protocol: Annotated[Path, typer.Option(help="Pairs of kitchens: a file with parts, or one part of it.")],
    seeds: Annotated[str, typer.Option(help="Seeds of every method and pair, e.g. 1,2,3.")] = "1",
    out: Annotated[Path, typer.Option(help="Where the runs go, one folder per run.")] = Path("outputs/domains"),
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for every recipe, repeatable.")] = None,
    score: Annotated[
        str | None, typer.Option(help="Default: top-1 of actions, or of verbs where there is less.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every figure to this file.")] = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Train every method on every pair and seed, and print the table; resumes where it stopped."""
    if not all(seed.strip().isdecimal() for seed in seeds.split(",")):
        raise ValidationError(f"--seeds {seeds}: whole numbers with commas between them are expected, e.g. 1,2,3")
    parts = [part for _, part in pairs_of(protocol).values()]
    chosen = score or f"all_{'action' if 'action' in parts[0].tasks else parts[0].tasks[0]}_accuracy_at_1"
    runs = plan(recipes, protocol, [int(seed) for seed in seeds.split(",")], settings or [], out)
    results = [read_result(run) for run in runs]
    left = sum(result is None for result in results)
    typer.echo(f"{len(runs)} runs, {len(runs) - left} of them done ({out})")
    _check_all([run for run, result in zip(runs, results, strict=True) if result is None], data)
    done = [result or _train_one(run, data, device) for run, result in zip(runs, results, strict=True)]
    table, ours = published(parts), summary(runs, done, chosen)
    _show(chosen, list(pairs_of(protocol)), ours, table, parts[0].published_remark)
    if json_file:
        content = {"protocol": str(protocol), "score": chosen, "methods": ours, "published": table}
        write_text(json_file, json.dumps(content, indent=2) + "\n")
        typer.echo(f"wrote {json_file}")


def _check_all(runs: list[Run], data: Path | None) -> None:
    """Refuse, before anything slow, what any of the runs would refuse."""
    problems = []
    for run in runs:
        try:
            prepare(run.loaded, data_root(data, run.loaded.recipe.data.root), run.folder)
        except EpicsubError as error:
            problems.append(str(error))
    if problems:
        raise TrainingError("\n".join(dict.fromkeys(problems)))


def _train_one(run: Run, data: Path | None, device: str) -> dict[str, Any]:
    """Train a run or resume it, score it, and write its result. One whose loss is not finite counts as failed."""
    recipe = run.loaded.recipe
    root = data_root(data, recipe.data.root)
    typer.echo(f"{run.method} {run.pair} seed {run.seed}")
    try:
        train(run.recipe, list(run.overrides), out=run.folder, data=data)
    except NotFiniteError as error:
        typer.echo(f"failed: {error}")
        write_result(run, {}, {}, str(error))
    else:
        protocol, skipped = load_protocol(Path(recipe.evaluation.protocol)), skipped_ids(recipe)
        listed = root.segments(protocol.validation.list)
        target = resolve_target(str(run.folder))
        segments = [segment for segment in listed if segment.narration_id not in skipped]
        predicted = predictions_of(target, segments, root, None, device_of(device))
        scores = evaluate(predicted, protocol, root.path / "annotations").scores
        write_result(run, scores, target.checkpoint.mean_of_last if target.checkpoint else {})
    result = read_result(run)
    assert result is not None
    return result


def _show(
    score: str, pairs: list[str], ours: dict[str, Any], published: dict[str, list[float]], remark: str | None
) -> None:
    """Print the table: one row per method, one column per pair, ours first."""
    console = Console(width=None if sys.stdout.isatty() else max(WIDTH, Console().width))
    table = Table(box=box.SIMPLE_HEAD, title=f"{score}, percent; mean ± standard deviation", title_justify="left")
    table.add_column("method")
    for pair in [*pairs, "mean"]:
        table.add_column(pair.replace("-", " → "), justify="right")
    for method, found in ours.items():
        table.add_row(method, *(_cell(found[pair]) for pair in [*pairs, "mean"]))
    table.add_section()
    for method, row in published.items():
        table.add_row(f"published: {method}", *(f"{figure:.1f}" for figure in row))
    console.print(table)
    if published and remark:
        console.print(remark, markup=False, highlight=False)
    if any(found["mean"]["failed"] for found in ours.values()):
        console.print("Failed runs have a loss that is not finite; the means are of the others.", highlight=False)


def _cell(found: dict[str, Any]) -> str:
    """A mean and its deviation over seeds, and how many of them failed."""
    failed = f" ({len(found['failed'])} of {len(found['seeds'])} failed)" if found["failed"] else ""
    if found["mean"] is None:
        return failed.strip(" ()")
    deviation = "" if found["deviation"] is None else f" ± {found['deviation']:.1f}"
    return f"{found['mean']:.1f}{deviation}{failed}"
