"""epicsub data boxes: hands and objects of every frame, one file a video."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from epicsub.api import root_to_write
from epicsub.cli.options import DataOption, LinkedOption
from epicsub.data.boxes.convert import convert_boxes
from epicsub.data.boxes.hands import PICTURES_PER_SECOND, find_hands
from epicsub.data.boxes.store import FOLDER
from epicsub.errors import DataError
from epicsub.text import counted


def boxes(
    data: DataOption = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder of the official pickles, or raw rows. Default: the data root.")
    ] = None,
    out: LinkedOption = None,
    detector: Annotated[
        Literal["official", "mediapipe"],
        typer.Option(help="mediapipe finds hands alone, in videos without boxes (pip install 'epicsub[hands]')."),
    ] = "official",
    hand_models: Annotated[
        Path | None, typer.Option(help="mediapipe only: hand_landmarker.task, or a wheel of MediaPipe 0.10.21.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=240, help="mediapipe only: pictures per second. Default: 15.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace boxes made of another file.")] = False,
) -> None:
    """Hands and objects of every frame from the official pickles, one file per video; what is whole is skipped."""
    root = root_to_write(data, out, FOLDER)
    if detector == "official":
        _refuse("mediapipe", {"--hand-models": hand_models, "--rate": rate})
        summary = convert_boxes(root, source, workers, overwrite)
    else:
        _refuse("official", {"--from": source})
        summary = find_hands(root, hand_models, rate or PICTURES_PER_SECOND, workers, overwrite)
    for note in summary.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(
        f"boxes: {counted(summary.converted, 'video', 'videos')} done, {counted(summary.kept, 'was', 'were')} "
        f"there, {summary.seconds:.0f} s"
    )


def _refuse(detector: str, options: dict[str, object]) -> None:
    given = [f"{name} {value}" for name, value in options.items() if value is not None]
    if given:
        raise DataError(f"{' '.join(given)}: is of --detector {detector}; leave it out, or ask for that")
