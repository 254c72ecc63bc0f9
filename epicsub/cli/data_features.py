"""epicsub data features: clip features, made by a model or copied from external ones."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.common import data_root, device_of
from epicsub.cli.options import DataOption, DeviceOption, TtaOption
from epicsub.data.features.external import is_external
from epicsub.data.features.store import repack
from epicsub.data.sampling import parse_views
from epicsub.errors import DataError
from epicsub.inference.features import extract_features
from epicsub.inference.targets import resolve_target
from epicsub.recipe import Recipe
from epicsub.text import counted
from epicsub.validation import load_protocol


def features(
    source: Annotated[str, typer.Argument(help="A checkpoint or a run; or external features, to be repacked.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write, by custom in the data root's features/.")],
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="List under annotations/, may be repeated. Default: all that the recipe names."),
    ] = None,
    tta: TtaOption = None,
    shard: Annotated[int, typer.Option(min=1, help="Segments per file.")] = 4096,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write each segment's pooled features, per modality; a stopped run can be resumed."""
    if is_external(Path(source)):
        given = {"--tta": tta, "--list": lists, "--data": data, "--device": device if device != "auto" else None}
        unused = [option for option, value in given.items() if value]
        if unused:
            raise DataError(
                f"{', '.join(unused)}: for features that a checkpoint makes, and {source} holds external features, "
                "which are copied as they are; leave it out"
            )
        copied, before = repack(Path(source), out, shard)
        typer.echo(f"{out}: {counted(copied, 'segment', 'segments')} copied, {counted(before, 'was', 'were')} there")
        return
    target, chosen = resolve_target(source), device_of(device)
    views = parse_views(tta) if tta else None
    names = lists or (_all_lists(target.recipe) if target.kind == "checkpoint" else [])
    done = extract_features(target, data_root(data), names, out, chosen, views, shard)
    sizes = ", ".join(f"{name} {dim}" for name, dim in done.dims.items())
    made, kept = counted(done.made, "segment", "segments"), counted(done.kept, "was", "were")
    typer.echo(f"{out}: {made} made, {kept} there; {sizes}, views {done.views}")


def _all_lists(recipe: Recipe) -> list[str]:
    """The lists that a recipe trains on, adapts to and is scored on."""
    protocol = load_protocol(Path(recipe.evaluation.protocol))
    names = [*recipe.data.source, *recipe.data.target, protocol.validation.list, protocol.test.list]
    return list(dict.fromkeys(names))
