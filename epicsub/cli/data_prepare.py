"""epicsub data prepare: the parts of the videos that segments need, small and fast to read."""

from typing import TYPE_CHECKING, Annotated

import typer

from epicsub.cli.options import DataOption, SkipOption, data_root
from epicsub.modality import FLOW, RGB, VideoModality
from epicsub.text import counted, sized

if TYPE_CHECKING:
    from epicsub.data.prepared.plan import Plan, Settings
    from epicsub.data.root import DataRoot


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
    """Cut and shrink the videos to what segments need; a killed run goes on when run again."""
    from epicsub.data.annotations import read_skip_list
    from epicsub.data.prepared.plan import check_space, listed_segments, make_plan, measured_rate
    from epicsub.errors import DataError

    root = data_root(data)
    chosen = settings_of([modality] if modality else root.modalities(), short_side, crf, flow_crf, margin)
    skipped = read_skip_list(skip) if skip else set()
    listed = listed_segments(root, lists or [])
    segments = [segment for segment in listed if segment.narration_id not in skipped]
    if len(segments) < len(listed):
        left = counted(len(listed) - len(segments), "segment is", "segments are")
        typer.echo(f"{left} named in {skip} and left out")
    videos = counted(len({segment.video_id for segment in segments}), "video", "videos")
    typer.echo(f"listed: {counted(len(segments), 'segment', 'segments')} of {videos}")
    plans = []
    problems: list[str] = []
    for name, settings in chosen.items():
        try:
            plans.append(make_plan(root, segments, name, settings, overwrite))
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError("\n".join(problems))
    needed = 0.0
    for plan in plans:
        typer.echo(plan.told())
        if plan.jobs:
            measured = measured_rate(plan.jobs)
            typer.echo(plan.told_size(measured))
            needed += measured.rate * sum(job.seconds for job in plan.jobs)
        elif not plan.kept:
            typer.echo(plan.told_typical())
    free = check_space(root.path / "prepared", 1.1 * needed)
    typer.echo(f"{sized(free)} are free")
    if plan_only:
        return
    if problems := carried_out(plans, root, workers):
        raise DataError("\n".join(problems))


def carried_out(plans: "list[Plan]", root: "DataRoot", workers: int | None) -> list[str]:
    """Prepare one modality after the other; what was wrong. Bad videos of one do not keep the other from being done."""
    from epicsub.data.prepared.write import BadVideosError
    from epicsub.data.prepared.write import prepare as prepare_all
    from epicsub.errors import DataError

    problems = []
    for plan in plans:
        if not plan.jobs:
            typer.echo(f"{plan.modality}: nothing to do")
            continue
        try:
            done = prepare_all(plan, root, workers)
        except DataError as error:
            problems.append(str(error))
            if isinstance(error, BadVideosError):
                continue
            break
        videos = counted(done.made, "video", "videos")
        typer.echo(f"{plan.modality}: {videos} prepared, {sized(done.size)}, {done.seconds:.0f} s")
    return problems


def settings_of(
    modalities: list[str], short_side: int | None, crf: int | None, flow_crf: int | None, margin: float
) -> "dict[str, Settings]":
    """How each modality is stored.

    Raises:
        DataError: an option is for a modality that is not prepared, or a value makes no sense.
    """
    from epicsub.data.prepared.plan import Settings
    from epicsub.errors import DataError

    options = {RGB.name: {"--short-side": short_side, "--crf": crf}, FLOW.name: {"--flow-crf": flow_crf}}
    problems = [
        f"{option} {value}: is for {modality}, and {modalities[0]} alone is prepared; leave it out"
        for modality, values in options.items()
        for option, value in values.items()
        if value is not None and modality not in modalities
    ]
    if problems:
        raise DataError("\n".join(problems))
    of_rgb = {"short_side": short_side, "crf": crf, "margin": margin}
    given = {RGB.name: of_rgb, FLOW.name: {"crf": flow_crf, "margin": margin}}
    return {
        name: Settings(**{key: value for key, value in given[name].items() if value is not None})  # type: ignore[arg-type]
        for name in modalities
    }
