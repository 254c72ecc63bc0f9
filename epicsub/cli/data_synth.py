"""epicsub data synth: small synthetic kitchens."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.synth import SynthSettings, make_kitchens
from epicsub.text import counted


def synth(
    folder: Annotated[Path, typer.Argument(help="Data root to write.")],
    seed: int = 0,
    train: Annotated[int | None, typer.Option(help="Labelled source segments.")] = None,
    heldout: Annotated[int | None, typer.Option(help="Held-out source segments.")] = None,
    validation: Annotated[int | None, typer.Option(help="Target segments for validation.")] = None,
    test: Annotated[int | None, typer.Option(help="Target segments for the test list.")] = None,
) -> None:
    """Write small synthetic kitchens in the organisers' layout: videos and tables; same seed, same bytes."""
    sizes = {"train": train, "heldout": heldout, "validation": validation, "test": test}
    settings = SynthSettings(seed=seed, **{name: size for name, size in sizes.items() if size is not None})
    made = make_kitchens(folder, settings)
    sizes_made = ", ".join(f"{size} {name}" for name, size in made.segments.items())
    videos = counted(made.videos, "video", "videos")
    kept = counted(made.kept, "was", "were")
    typer.echo(f"{folder}: {videos} ({kept} there), segments: {sizes_made}; {made.seconds:.0f} s")
