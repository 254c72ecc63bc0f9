"""epicsub data synth: small synthetic kitchens."""

from pathlib import Path
from typing import Annotated, Any

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
    noise: Annotated[
        float | None, typer.Option(help="Grey levels of the sensor's noise; 0 where order is learnt, which it tells.")
    ] = None,
    distractors: Annotated[int, typer.Option(help="Objects of other nouns that lie around each action.")] = 0,
    boxes: Annotated[bool, typer.Option("--boxes", help="Write hand-objects/ too, as the organisers do.")] = False,
    box_miss: Annotated[float, typer.Option(help="Share of boxes that are missed.")] = 0.0,
    box_jitter: Annotated[float, typer.Option(help="Deviation of a box's sides, in its width or height.")] = 0.0,
    box_false: Annotated[float, typer.Option(help="Share of frames with an object that is none.")] = 0.0,
    box_swap: Annotated[float, typer.Option(help="Share of frames in which a hand holds another object.")] = 0.0,
) -> None:
    """Write small synthetic kitchens in the organisers' layout: videos and tables; same seed, same bytes."""
    sizes: dict[str, float | None] = {"train": train, "heldout": heldout, "validation": validation, "test": test}
    given: dict[str, Any] = {name: value for name, value in (sizes | {"noise": noise}).items() if value is not None}
    settings = SynthSettings(
        seed=seed,
        distractors=distractors,
        boxes=boxes,
        box_miss=box_miss,
        box_jitter=box_jitter,
        box_false=box_false,
        box_swap=box_swap,
        **given,
    )
    made = make_kitchens(folder, settings)
    sizes_made = ", ".join(f"{size} {name}" for name, size in made.segments.items())
    videos = counted(made.videos, "video", "videos")
    kept = counted(made.kept, "was", "were")
    typer.echo(f"{folder}: {videos} ({kept} there), segments: {sizes_made}; {made.seconds:.0f} s")
