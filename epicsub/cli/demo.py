"""epicsub demo: the whole way on small made-up kitchens, each step by the command a user would type."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

RECIPES = ("mmir_i3d", "resnet_bilstm")


def demo(folder: Annotated[Path, typer.Option(help="Where the kitchens go.")] = Path("kitchens")) -> None:
    """Make kitchens, train two recipes, validate, ensemble with test-time views, write and check the upload."""
    began = time.monotonic()
    data = ["--data", str(folder)]
    runs = [f"outputs/tiny_{name}" for name in RECIPES]
    call("data", "synth", str(folder))
    call("data", "flow", "--bound", "4", *data)
    for name in RECIPES:
        call("train", f"recipes/tiny/{name}.yaml", *data)
    call("submit", "--ensemble", *runs, "--tta", "2x1", "--name", "demo", *data)
    call("check", "submissions/demo/submission.zip", "--protocol", "validation/tiny.yaml", *data)
    call("validate", *runs, "--json", "outputs/demo.json", *data)
    typer.echo("Source kitchens, held out, for comparison:")
    call("validate", *runs, "--protocol", "validation/tiny_heldout.yaml", *data)
    typer.echo(f"Written: {', '.join(runs)}, outputs/demo.json, submissions/demo/ ({time.monotonic() - began:.0f} s)")


def call(*words: str) -> None:
    """Run one epicsub command, showing it first; leave with its exit status if it fails."""
    typer.secho(f"\n$ epicsub {' '.join(words)}", bold=True)
    finished = subprocess.run([sys.executable, "-m", "epicsub", *words], check=False)
    if finished.returncode:
        raise typer.Exit(finished.returncode)
