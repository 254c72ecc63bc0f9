"""epicsub data prepare: the parts of the videos that segments need, small and fast to read."""

from typing import Annotated, Literal

import typer

from epicsub.cli.options import DataOption, SkipOption, data_root
from epicsub.words import counted, sized


def prepare(
    data: DataOption = None,
    modality: Annotated[
        Literal["rgb", "flow"] | None,
        typer.Option(help="What to prepare. Default: rgb, and flow where there is flow/."),
    ] = None,
    lists: Annotated[
        list[str] | None, typer.Option("--list", help="Table under annotations/. Default: the official three.")
    ] = None,
    skip: SkipOption = None,
    short_side: Annotated[int, typer.Option(help="Pixels of the short side of rgb; never enlarged.")] = 256,
    crf: Annotated[int, typer.Option(help="x264's quality of rgb: lower is better and larger.")] = 20,
    flow_crf: Annotated[int, typer.Option(help="x264's quality of flow.")] = 20,
    margin: Annotated[float, typer.Option(help="Seconds kept on both sides of each segment.")] = 0.5,
    workers: Annotated[int | None, typer.Option(help="Processes. Default: one a core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace entries made with other settings.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it will take, and do nothing.")] = False,
) -> None:
    """Cut and shrink the videos to what segments need; a killed run goes on when run again."""
    from epicsub.data.annotations import read_skip_list
    from epicsub.data.prepare import prepare as prepare_all
    from epicsub.data.prepare_plan import Settings, check_space, listed_segments, make_plan, measured_rate

    root = data_root(data)
    skipped = read_skip_list(skip) if skip else set()
    listed = listed_segments(root, lists or [])
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        typer.echo(f"{len(listed) - len(segments)} segments named in {skip} are left out")
    wanted = [modality] if modality else ["rgb", "flow"] if (root.path / "flow").is_dir() else ["rgb"]
    typer.echo(f"{len(segments)} segments of {len({segment.video_id for segment in segments})} videos are listed")
    plans = []
    for name in wanted:
        settings = Settings(short_side=short_side, crf=crf if name == "rgb" else flow_crf, margin=margin)
        plans.append(make_plan(root, segments, name, settings, overwrite))
    needed = 0.0
    for plan in plans:
        typer.echo(plan.told())
        if plan.jobs:
            rate = measured_rate(plan.jobs)
            typer.echo(plan.told_size(rate))
            needed += rate * sum(job.seconds for job in plan.jobs)
        elif not plan.kept:
            typer.echo(plan.told_typical())
    free = check_space(root.path / "prepared", 1.1 * needed)
    typer.echo(f"{sized(free)} are free")
    if plan_only:
        return
    for plan in plans:
        if plan.jobs:
            done = prepare_all(plan, root, workers)
            videos = counted(done.made, "video", "videos")
            typer.echo(f"{plan.modality}: {videos} prepared, {sized(done.size)}, {done.seconds:.0f} s")
        else:
            typer.echo(f"{plan.modality}: nothing to do")
