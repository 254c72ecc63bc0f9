"""epicsub demo: the whole way on small made-up kitchens, each step by the command a user would type."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

RECIPES = ("mmir_i3d", "resnet_bilstm")
SCORED = {"target": "validation/tiny.yaml", "source, held out": "validation/tiny_heldout.yaml"}


def demo(
    context: typer.Context, folder: Annotated[Path, typer.Option(help="Where the kitchens go.")] = Path("kitchens")
) -> None:
    """Make kitchens, train two recipes, validate, ensemble with test-time views, write and check the upload."""
    began = time.monotonic()
    epicsub = context.find_root().command
    data = ["--data", str(folder)]
    runs = [f"outputs/tiny_{name}" for name in RECIPES]
    call(epicsub, "data", "synth", str(folder))
    call(epicsub, "data", "flow", "--bound", "4", *data)
    for name in RECIPES:
        call(epicsub, "train", f"recipes/tiny/{name}.yaml", *data)
    scores = {}
    for kitchens, protocol in SCORED.items():
        path = Path("outputs") / f"demo_{Path(protocol).stem}.json"
        call(epicsub, "validate", *runs, "--protocol", protocol, "--json", str(path), *data)
        scores[kitchens] = json.loads(path.read_text())
    call(epicsub, "submit", "--ensemble", *runs, "--tta", "2x1", "--name", "demo", *data)
    call(epicsub, "check", "submissions/demo/submission.zip", "--protocol", "validation/tiny.yaml", *data)
    show(scores)
    typer.echo(f"Models: {', '.join(runs)}; upload: submissions/demo/submission.zip; scores: outputs/demo_*.json")
    typer.echo(f"Done in {time.monotonic() - began:.0f} s.")


def call(epicsub: Any, *words: str) -> None:
    """Run one epicsub command in this process, its words first, its time last; leave with its status if it fails."""
    typer.secho(f"\n$ epicsub {' '.join(words)}", bold=True)
    began = time.monotonic()
    status = epicsub.main(list(words), prog_name="epicsub", standalone_mode=False)
    if status:
        raise typer.Exit(status)
    typer.echo(f"({time.monotonic() - began:.0f} s)")


def show(scores: dict[str, dict]) -> None:
    """One table of what both models reached."""
    table = Table(box=box.SIMPLE_HEAD, title="Reached, top-1 in percent", title_justify="left")
    for name in ("model", "on", "segments"):
        table.add_column(name)
    for task in ("verb", "noun", "action"):
        table.add_column(task, justify="right")
    for kitchens, targets in scores.items():
        for target, entry in targets.items():
            reached = (f"{entry['scores'][f'all_{task}_accuracy_at_1']:.1f}" for task in ("verb", "noun", "action"))
            table.add_row(target, kitchens, "{segments} of {of}".format(**entry["coverage"]), *reached)
    Console().print(table)
