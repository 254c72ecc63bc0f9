"""epicsub data check: annotations against files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from epicsub.api.data import CLIP_SECONDS, check_data, write_skip_list
from epicsub.cli.options import DataOption, MergeOption, ShardOption, SkipOption, chosen_shard, print_whole, write_json
from epicsub.data.check import DataReport
from epicsub.data.decode.reader import choose_decoder
from epicsub.errors import DataError
from epicsub.modality import VideoModality
from epicsub.text import counted

SHOWN = 20


def check(
    data: DataOption = None,
    lists: Annotated[
        list[str] | None, typer.Option("--list", help="Table under annotations/. Default: the official ones there.")
    ] = None,
    modality: Annotated[VideoModality | None, typer.Option(help="Default: rgb, and flow where there is any.")] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every frame; a killed check can be resumed.")] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Read sampled seconds with every decoder that loads, and say which to use."),
    ] = False,
    skip: SkipOption = None,
    write_skip: Annotated[
        Path | None, typer.Option(help="Write the segments that cannot be read to this file.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything found to this file.")] = None,
    clip_seconds: Annotated[
        float, typer.Option(help="Seconds of a clip; shorter segments are counted.")
    ] = CLIP_SECONDS,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per core.")] = None,
    shard: ShardOption = None,
    merge: MergeOption = None,
) -> None:
    """Report what is missing, damaged or does not fit. Exit status 2 if a segment cannot be read."""
    if not (deep or compare) and (shard is not None or merge is not None):
        raise DataError("--shard and --merge: are for --deep and --compare, which take long; leave them out")
    found = check_data(
        lists or (),
        data=data,
        modality=modality,
        deep=deep,
        compare=compare,
        skip=skip,
        clip_seconds=clip_seconds,
        workers=workers,
        shard=chosen_shard(shard, merge) if deep or compare else None,
        merge=merge,
    )
    _show(found, deep)
    if compare:
        _show_decoders(found)
    if json_file:
        write_json(json_file, found.as_json())
    if write_skip:
        wrote = counted(write_skip_list(found, write_skip), "segment", "segments")
        typer.echo(f"wrote {wrote} to {write_skip}: name it in data.skip of a recipe, or with --skip")
    if not found.fine and not (write_skip and found.unreadable):
        raise typer.Exit(2)


def _show(found: DataReport, deep: bool) -> None:
    """The tables and the findings."""
    for title, rows in (("list", found.lists), ("kitchen", found.kitchens)):
        table = Table(title, "videos", "here", "segments", "readable", "share")
        for name, row in rows.items():
            share = f"{100 * row.read / max(1, row.segments):.1f} %"
            table.add_row(name, *map(str, (row.videos, row.videos_here, row.segments, row.read)), share)
        print_whole(table)
    for modality, ids in found.missing.items():
        if ids:
            where = found.looked_for[modality]
            typer.echo(f"no {modality} for {counted(len(ids), 'video', 'videos')}: {_some(ids)} ({where})")
    for modality, ids in found.only_stored.items():
        if ids:
            typer.echo(
                f"{modality} of {counted(len(ids), 'video', 'videos')} is only in the prepared store: {_some(ids)}"
            )
    for report in found.broken:
        for problem in report.problems:
            typer.echo(f"{report.path}: {problem}")
    noted = [*found.there.notes(), *(f"{report.path}: {note}" for report in found.files for note in report.notes)]
    for line in noted[:SHOWN]:
        typer.echo(f"note: {line}")
    if len(noted) > SHOWN:
        typer.echo(f"note: ... and {len(noted) - SHOWN} more (--json FILE has all)")
    _show_boxes(found)
    if found.unknown_videos:
        typer.echo(f"not in EPIC_100_video_info.csv: {_some(found.unknown_videos)}")
    unknown = len(found.not_compared)
    typer.echo(
        f"segments: {len(found.short)} shorter than a clip (frames repeated), "
        f"{len(found.overrun)} truncated at the end of the video, {len(found.overlapping)} overlapping an earlier one"
        + (f", {unknown} of videos whose end is unknown" if unknown else "")
        + (f", {found.left_out} skipped" if found.left_out else "")
    )
    how = "every frame decoded" if deep else "headers and last keyframes read; --deep decodes every frame"
    verdict = (
        "all segments can be read"
        if not found.unreadable and not found.broken
        else f"{counted(len(found.unreadable), 'segment', 'segments')} cannot be read"
    )
    typer.echo(f"{counted(len(found.files), 'file', 'files')}, {len(found.broken)} with problems ({how}): {verdict}")


def _show_boxes(found: DataReport) -> None:
    """What boxes/ holds and lacks; nothing where it is not there."""
    boxes = found.boxes
    if boxes.missing:
        typer.echo(f"no boxes for {counted(len(boxes.missing), 'video', 'videos')}: {_some(boxes.missing)}")
    for line in boxes.lines():
        typer.echo(line)


def _show_decoders(found: DataReport) -> None:
    """What each decoder makes of the videos, and which to use."""
    compared = [report for report in found.files if report.decoders]
    for name, otherwise in found.decoders.items():
        right = len(compared) - len(otherwise)
        typer.echo(
            f"decoder {name}: pictures and times right in {right} of {counted(len(compared), 'video', 'videos')}"
        )
        for report in [report for report in compared if report.decoders.get(name)][:SHOWN]:
            typer.echo(f"  {report.path}: {report.decoders[name]}")
    good = [name for name, otherwise in found.decoders.items() if not otherwise]
    if good:
        typer.echo(f"use decoder {good[0]}" + (" (which auto is)" if good[0] == choose_decoder("auto") else ""))
    elif compared:
        typer.echo("no decoder reads all of them right: write those videos anew, with ffmpeg -i IN OUT.mp4")
    else:
        typer.echo("no video could be compared")


def _some(names: list[str]) -> str:
    """The first of them."""
    return ", ".join(names[:SHOWN]) + (f", ... and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
