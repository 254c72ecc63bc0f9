"""epicsub data flow: optical flow of every video."""

from typing import Annotated, Literal

import typer

from epicsub.api import root_to_write
from epicsub.cli.options import DataOption, LinkedOption, MergeOption, ShardOption, chosen_shard
from epicsub.data.flow import FlowSettings
from epicsub.data.flow.compute import flow_for_videos
from epicsub.errors import DataError
from epicsub.modality import FLOW, RGB
from epicsub.text import counted


def flow(
    data: DataOption = None,
    out: LinkedOption = None,
    short_side: Annotated[int, typer.Option(help="Pixels of the short side; smaller videos are not enlarged.")] = 256,
    bound: Annotated[
        float, typer.Option(help="Largest displacement kept, pixels per frame (8 at 60 fps: 20 at 25).")
    ] = 8.0,
    method: Annotated[Literal["dis", "tvl1"], typer.Option(help="tvl1 is many times slower.")] = "dis",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace flow computed with other settings.")] = False,
    shard: ShardOption = None,
    merge: MergeOption = None,
) -> None:
    """Optical flow of every video under videos/, one seekable file each; what is whole is skipped."""
    root = root_to_write(data, out, FLOW.video_folder)
    there = root.videos_there()
    for note in there.notes():
        typer.echo(f"note: {note}", err=True)
    if not there.video_ids:
        raise DataError(f"{root.path / RGB.video_folder}: no videos such as P01/P01_01.MP4 to compute flow of")
    summary = flow_for_videos(
        root,
        there.video_ids,
        FlowSettings(short_side, bound, method),
        workers=workers,
        overwrite=overwrite,
        shard=chosen_shard(shard, merge),
        merge=merge,
    )
    if merge is not None:
        typer.echo(f"all {merge} shards are there")
    typer.echo(
        f"flow: {counted(summary.computed, 'video', 'videos')} computed, {counted(summary.kept, 'was', 'were')} there, "
        f"{summary.seconds:.0f} s"
    )
    if there.denied:
        raise DataError(
            "\n".join([*there.denied, "(no flow for what lies there, the others are done; mend it and run this again)"])
        )
