"""epicsub data prepare: the parts of the videos that segments need, small and fast to read."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from epicsub.api.common import data_root
from epicsub.cli.options import DataOption, SkipOption
from epicsub.data.annotations import read_skip_list
from epicsub.data.prepared.plan import (
    Measured,
    Plan,
    Settings,
    listed_segments,
    make_plans,
    measured_rate,
)
from epicsub.data.prepared.write import check_space, prepare_all
from epicsub.errors import DataError
from epicsub.modality import FLOW, MODALITIES, RGB, VideoModality
from epicsub.text import counted, sized


def prepare(
    data: DataOption = None,
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
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace entries made with other settings.")] = False,
    plan_only: Annotated[bool, typer.Option("--plan", help="Say what it will take, and do nothing.")] = False,
) -> None:
    """Cut and shrink the videos to what segments need; a killed run can be resumed."""
    root = data_root(data)
    chosen = _settings_of([modality] if modality else root.modalities(), short_side, crf, flow_crf, margin)
    skipped = read_skip_list(skip) if skip else set()
    listed = listed_segments(root, lists or [])
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        left = counted(len(listed) - len(segments), "segment is", "segments are")
        typer.echo(f"{left} named in {skip} and left out")
    videos = counted(len({segment.video_id for segment in segments}), "video", "videos")
    typer.echo(f"listed: {counted(len(segments), 'segment', 'segments')} of {videos}")
    plans, needed = make_plans(root, segments, chosen, overwrite), 0.0
    for plan in plans:
        typer.echo(_plan_line(plan))
        if plan.jobs:
            measured = measured_rate(plan.jobs)
            typer.echo(_size_line(plan, measured))
            needed += measured.rate * sum(job.seconds for job in plan.jobs)
        elif not plan.kept:
            typer.echo(_typical_size_line(plan))
    free = check_space(root.path / "prepared", 1.1 * needed)
    typer.echo(f"{sized(free)} free")
    if plan_only:
        return
    for done in prepare_all(plans, root, workers):
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


def _settings_of(
    modalities: Sequence[str], short_side: int | None, crf: int | None, flow_crf: int | None, margin: float
) -> dict[str, Settings]:
    """How each modality is stored.

    Raises:
        DataError: an option is for a modality that is not prepared, or a value makes no sense.
    """
    options = {RGB.name: {"--short-side": short_side, "--crf": crf}, FLOW.name: {"--flow-crf": flow_crf}}
    problems = [
        f"{option} {value}: is for {modality}, but only {modalities[0]} is prepared; leave it out"
        for modality, values in options.items()
        for option, value in values.items()
        if value is not None and modality not in modalities
    ]
    if problems:
        raise DataError("\n".join(problems))
    given: dict[str, dict[str, Any]] = {RGB.name: {"short_side": short_side, "crf": crf}, FLOW.name: {"crf": flow_crf}}
    return {
        name: Settings(margin=margin, **{k: value for k, value in given.get(name, {}).items() if value is not None})
        for name in modalities
    }
