"""epicsub demo: the whole way on small synthetic kitchens, each step by the command a user would type."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from epicsub.cli.options import print_whole
from epicsub.io import user_path

RECIPES = ("mmir_i3d", "resnet_bilstm")
SCORED = {"target": "tiny", "source, held out": "tiny_heldout"}
QUICK_SIZES = {"train": 60, "heldout": 12, "validation": 24, "test": 20}
QUICK_STEPS = {
    "mmir_i3d": ("train.stages.0.steps=8", "train.stages.1.steps=4", "model.width=0.0625"),
    "resnet_bilstm": ("train.stages.0.steps=8",),
}


def demo(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Option(help="Where the kitchens go. Default: kitchens/ of --out.")] = None,
    out: Annotated[Path, typer.Option(help="Where all that is made goes. Default: the present folder.")] = Path(),
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Fewer segments and steps, to see that everything works; scores mean little."),
    ] = False,
) -> None:
    """Make kitchens, train two recipes, validate, ensemble with test-time views, write and check the upload."""
    began = time.monotonic()
    epicsub = context.find_root().command
    sizes = QUICK_SIZES if quick else {}
    out = user_path(out)
    folder = out / "kitchens" if folder is None else user_path(folder)
    runs = [str(out / "outputs" / f"tiny_{name}") for name in RECIPES]
    data, upload = ["--data", str(folder)], out / "submissions" / "demo"
    _call(epicsub, "data", "synth", str(folder), *(word for name in sizes for word in (f"--{name}", str(sizes[name]))))
    _call(epicsub, "data", "flow", "--bound", "4", *data)
    for name, run in zip(RECIPES, runs, strict=True):
        _call(epicsub, "train", f"tiny/{name}", *(QUICK_STEPS[name] if quick else ()), "--out", run, *data)
    scores = {}
    for (kitchens, protocol), split in zip(SCORED.items(), ("validation", "heldout"), strict=True):
        path = out / "outputs" / f"demo_{protocol}.json"
        _call(epicsub, "validate", *runs, "--protocol", protocol, "--json", str(path), *_count(sizes, split), *data)
        scores[kitchens] = json.loads(path.read_text())
    test = (*_count(sizes, "test"), *data)
    name = "demo" if out == Path() else str(upload.absolute())
    _call(epicsub, "submit", "--ensemble", *runs, "--tta", "2x1", "--name", name, *test)
    _call(epicsub, "check", str(upload / "submission.zip"), "--protocol", "tiny", *test)
    _show(scores)
    scored = out / "outputs" / "demo_*.json"
    typer.echo(f"Models: {', '.join(runs)}; upload: {upload / 'submission.zip'}; scores: {scored}")
    typer.echo(f"Done in {time.monotonic() - began:.0f} s.")


def _count(sizes: Mapping[str, int], split: str) -> tuple[str, ...]:
    return ("--count", str(sizes[split])) if sizes else ()


def _call(epicsub: Any, *words: str) -> None:
    """Run one epicsub command in this process, its words first, its time last; leave with its status if it fails."""
    typer.secho(f"\n$ epicsub {' '.join(words)}", bold=True)
    began = time.monotonic()
    status = epicsub.main(list(words), prog_name="epicsub", standalone_mode=False)
    if status:
        raise typer.Exit(status)
    typer.echo(f"({time.monotonic() - began:.0f} s)")


def _show(scores: Mapping[str, Mapping[str, Any]]) -> None:
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
    print_whole(table)
