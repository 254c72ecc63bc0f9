"""epicsub data prepare: the parts of the videos that segments need, small and fast to read."""

from typing import Annotated

import typer

from epicsub.api.data import plan_preparation
from epicsub.cli.options import DataOption, LinkedOption, MergeOption, ShardOption, SkipOption, chosen_shard
from epicsub.data.prepared.plan import Measured, Plan
from epicsub.modality import MODALITIES, VideoModality
from epicsub.text import counted, sized


def prepare(
    data: DataOption = None,
    out: LinkedOption = None,
    modality: Annotated[
        VideoModality | None,
        typer.Option(help="What to prepare. Default: rgb, and flow where there is flow/ or flow_frames/."),
    ] = None,
    lists: Annotated[
        list[str] | None, typer.Option("--list", help="Table under annotations/. Default: the official three.")
    ] = None,
    skip: SkipOption = None,
    short_side: Annotated[
        int | None, typer.Option(help="Pixels of the short side of rgb; never enlarged. Default: 256.")
    ] = None,
    crf: Annotated[
        int | None, typer.Option(help="x264's quality of rgb: lower is better and larger. Default: 20.")
    ] = None,
    flow_crf: Annotated[int | None, typer.Option(help="x264's quality of flow. Default: 20.")] = None,
    margin: Annotated[float, typer.Option(help="Seconds kept on both sides of each segment.")] = 0.5,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace entries made with other settings.")] = False,
    shard: ShardOption = None,
    merge: MergeOption = None,
    plan_only: Annotated[bool, typer.Option("--plan", help="Estimate size and free space, then exit.")] = False,
) -> None:
    """Cut and shrink the videos to what segments need; a killed run can be resumed."""
    planned = plan_preparation(
        lists or (),
        data=data,
        out=out,
        modality=modality,
        skip=skip,
        short_side=short_side,
        crf=crf,
        flow_crf=flow_crf,
        margin=margin,
        overwrite=overwrite,
        shard=chosen_shard(shard, merge),
    )
    if merge is not None:
        planned.refuse_missing(merge)
        typer.echo(f"all {merge} shards are there")
        return
    for note in planned.root.videos_there().notes():
        typer.echo(f"note: {note}", err=True)
    if planned.skipped:
        typer.echo(f"{counted(planned.skipped, 'segment', 'segments')} skipped ({skip})")
    videos = counted(len({segment.video_id for segment in planned.segments}), "video", "videos")
    typer.echo(f"listed: {counted(len(planned.segments), 'segment', 'segments')} of {videos}")
    for plan in planned.plans:
        typer.echo(_plan_line(plan))
        if plan.modality in planned.measured:
            typer.echo(_size_line(plan, planned.measured[plan.modality]))
        elif not plan.kept:
            typer.echo(_typical_size_line(plan))
    typer.echo(f"{sized(planned.check_space())} free")
    if plan_only:
        return
    for done in planned.run(workers):
        if done.made:
            videos = counted(done.made, "video", "videos")
            typer.echo(f"{done.modality}: {videos} prepared, {sized(done.size)}, {done.seconds:.0f} s")
        else:
            typer.echo(f"{done.modality}: nothing to do")


def _plan_line(plan: Plan) -> str:
    return (
        f"{plan.modality}: {plan.seconds / 3600:.2f} h in segments (overlaps counted once), "
        f"{plan.stored_seconds / 3600:.2f} h with margins; {counted(plan.kept, 'video', 'videos')} prepared "
        f"({sized(plan.kept_bytes)}), {len(plan.jobs)} to do, {len(plan.missing)} missing"
    )


def _size_line(plan: Plan, measured: Measured) -> str:
    """The space it takes at the rate measured on this plan's videos."""
    if not measured.rate:
        return (
            f"{plan.modality}: size unknown, none of {counted(len(measured.problems), 'piece', 'pieces')} tried can be "
            f"read (the first: {measured.problems[0]})"
        )
    to_do, whole = (
        sized(seconds * measured.rate) for seconds in (sum(j.seconds for j in plan.jobs), plan.stored_seconds)
    )
    return (
        f"{plan.modality}: {measured.rate / 1e3:.0f} kB per second, measured on "
        f"{counted(measured.pieces, 'piece', 'pieces')} of {counted(measured.videos, 'video', 'videos')}; "
        f"to do: about {to_do}; all segments at that rate: {whole}"
    )


def _typical_size_line(plan: Plan) -> str:
    rate = MODALITIES[plan.modality].bytes_per_second
    return (
        f"{plan.modality}: no video to measure on; at {rate / 1e3:.0f} kB per second, as a real kitchen clip at 60 "
        f"frames per second takes (benchmarks/store_size.py), all segments: {sized(plan.stored_seconds * rate)}"
    )
