"""epicsub data: what lies on the disk."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.cli import data_features, data_lists
from epicsub.cli.data_check import check
from epicsub.cli.data_prepare import prepare
from epicsub.cli.data_status import status
from epicsub.cli.options import DataOption, data_root
from epicsub.text import counted

app = typer.Typer(help="What lies on the disk: small kitchens, optical flow, the prepared store.", no_args_is_help=True)
app.command("lists")(data_lists.lists)
app.command("check")(check)
app.command("prepare")(prepare)
app.command("status")(status)
app.command("features")(data_features.features)


@app.command()
def synth(
    folder: Annotated[Path, typer.Argument(help="Data root to write.")],
    seed: int = 0,
    train: Annotated[int | None, typer.Option(help="Labelled source segments.")] = None,
    heldout: Annotated[int | None, typer.Option(help="Held-out source segments.")] = None,
    validation: Annotated[int | None, typer.Option(help="Target segments for validation.")] = None,
    test: Annotated[int | None, typer.Option(help="Target segments for the test list.")] = None,
) -> None:
    """Draw small kitchens in the organisers' layout: videos, tables, everything; same seed, same bytes."""
    from epicsub.synth import SynthSettings, make_kitchens

    sizes = {"train": train, "heldout": heldout, "validation": validation, "test": test}
    settings = SynthSettings(seed=seed, **{name: size for name, size in sizes.items() if size is not None})
    made = make_kitchens(folder, settings)
    sizes_made = ", ".join(f"{size} {name}" for name, size in made.segments.items())
    videos = counted(made.videos, "video", "videos")
    kept = counted(made.kept, "was", "were")
    typer.echo(f"{folder}: {videos} ({kept} there), segments: {sizes_made}; {made.seconds:.0f} s")


@app.command()
def flow(
    data: DataOption = None,
    short_side: Annotated[int, typer.Option(help="Pixels of the short side; smaller videos are not enlarged.")] = 256,
    bound: Annotated[
        float, typer.Option(help="Largest displacement kept, pixels a frame (8 at 60 fps: 20 at 25).")
    ] = 8.0,
    method: Annotated[Literal["dis", "tvl1"], typer.Option(help="tvl1 needs opencv-contrib-python-headless.")] = "dis",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace flow made with other settings.")] = False,
) -> None:
    """Optical flow of every video under videos/, one seekable file each; what is whole is skipped."""
    from epicsub.data.flow.compute import flow_for_videos

    root = data_root(data)
    summary = flow_for_videos(
        root.path,
        root.video_ids(),
        short_side=short_side,
        bound=bound,
        method=method,
        workers=workers,
        overwrite=overwrite,
    )
    typer.echo(
        f"flow: {counted(summary.made, 'video', 'videos')} computed, {counted(summary.kept, 'was', 'were')} there, "
        f"{summary.seconds:.0f} s"
    )
