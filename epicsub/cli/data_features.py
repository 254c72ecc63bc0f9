"""epicsub data features: clip features, made by a model or copied from external ones."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.predict import extract_features
from epicsub.api.shares import merge_features
from epicsub.cli.options import DataOption, DeviceOption, MergeOption, ShardOption, TtaOption, chosen_shard
from epicsub.data.features.external import is_external
from epicsub.data.features.store import repack
from epicsub.errors import DataError
from epicsub.text import counted


def features(
    source: Annotated[str, typer.Argument(help="A checkpoint or a run; or external features, to be repacked.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write, by custom in the data root's features/.")],
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="List under annotations/, may be repeated. Default: all that the recipe names."),
    ] = None,
    tta: TtaOption = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Add features of hands and of objects, of a run with relations.")
    ] = False,
    per_file: Annotated[int, typer.Option(min=1, help="Segments per file.")] = 4096,
    data: DataOption = None,
    device: DeviceOption = "auto",
    shard: ShardOption = None,
    merge: MergeOption = None,
) -> None:
    """Write each segment's pooled features, per modality; a stopped run can be resumed."""
    if is_external(Path(source)):
        given = {
            "--tta": tta,
            "--list": lists,
            "--regions": regions,
            "--data": data,
            "--device": device if device != "auto" else None,
        }
        unused = [option for option, value in given.items() if value]
        if unused:
            raise DataError(
                f"{', '.join(unused)}: for features that a checkpoint makes, and {source} holds external features, "
                "which are copied as they are; leave it out"
            )
        copied, before = repack(Path(source), out, per_file)
        typer.echo(f"{out}: {counted(copied, 'segment', 'segments')} copied, {counted(before, 'was', 'were')} there")
        return
    share, names = chosen_shard(shard, merge), lists or []
    if merge is not None:
        count = merge_features(source, out, merge, names, tta=tta, shard_segments=per_file, data=data, regions=regions)
        typer.echo(f"{out}: {counted(count, 'segment', 'segments')} of {merge} shards")
        return
    done = extract_features(
        source, out, names, tta=tta, shard_segments=per_file, regions=regions, data=data, device=device, share=share
    )
    sizes = ", ".join(f"{name} {dim}" for name, dim in done.dims.items())
    made, kept = counted(done.made, "segment", "segments"), counted(done.kept, "was", "were")
    typer.echo(f"{out}: {made} made, {kept} there; {sizes}, views {done.views}")
