"""epicsub data features: clip features, made by a model or taken over from others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epicsub.cli.options import DataOption, DeviceOption, TtaOption, data_root
from epicsub.text import counted, join_problems

if TYPE_CHECKING:
    from epicsub.data.root import DataRoot
    from epicsub.recipe import Recipe


def features(
    source: Annotated[str, typer.Argument(help="A checkpoint or a run; or features of others, to be repacked.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write, by custom in the data root's features/.")],
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="List under annotations/, may be repeated. Default: all that the recipe names."),
    ] = None,
    tta: TtaOption = None,
    shard: Annotated[int, typer.Option(min=1, help="Segments a file.")] = 4096,
    data: DataOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Write each segment's features, pooled, a modality at a time; goes on where it was stopped."""
    from epicsub.data.features.external import is_external
    from epicsub.errors import DataError

    if is_external(Path(source)):
        given = {"--tta": tta, "--list": lists, "--data": data, "--device": device if device != "auto" else None}
        unused = [option for option, value in given.items() if value]
        if unused:
            raise DataError(
                f"{', '.join(unused)}: for features that a checkpoint makes, and {source} holds features of others, "
                "which are copied as they are; leave it out"
            )
        made = repack(Path(source), out, shard)
    else:
        made = extract_from(source, out, lists, tta, shard, data_root(data), device)
    typer.echo(f"{out}: {made}")


def extract_from(
    source: str, out: Path, lists: list[str] | None, tta: str | None, shard: int, root: "DataRoot", device: str
) -> str:
    """Features by a model; says what was made."""
    from epicsub.cli.options import device_of
    from epicsub.data.features.store import FeatureStore
    from epicsub.data.parallel import alone
    from epicsub.data.sampling import parse_views
    from epicsub.errors import InferenceError
    from epicsub.inference.features import extract, made_by, segments_of
    from epicsub.inference.targets import resolve_target
    from epicsub.training.build import store_of
    from epicsub.training.preflight import missing_files

    target = resolve_target(source)
    if target.kind != "checkpoint":
        raise InferenceError(f"{target.path}: holds predictions; features are made by a checkpoint (.pth) or a run")
    chosen = device_of(device)
    trained = target.load(chosen)
    views = parse_views(tta or trained.recipe.evaluation.views)
    segments = segments_of(root, lists or _all_lists(trained.recipe))
    choice = store_of(trained.recipe, root, segments)
    if not out.exists() and (missing := missing_files(trained.recipe, root, segments, choice)):
        raise InferenceError(join_problems(missing, "nothing was made"))  # and no folder is left behind
    with alone(out):
        store = FeatureStore(out, made_by(trained, target.sha256, views, choice))
        for file in store.dropped:
            typer.echo(f"{out / file}: damaged or gone, its segments are made again")
        todo = [segment for segment in segments if segment.narration_id not in store.narration_ids]
        missing = missing_files(trained.recipe, root, todo, choice)
        if missing:
            raise InferenceError(join_problems(missing, "nothing was made"))
        count = extract(trained, root, segments, views, choice, store, chosen, shard)
    dims: dict[str, int] = trained.model.feature_dims  # type: ignore[assignment]  # every model has it
    sizes = ", ".join(f"{name} {dim}" for name, dim in dims.items())
    kept = counted(len(segments) - count, "was", "were")
    return f"{counted(count, 'segment', 'segments')} made, {kept} there; {sizes}, views {views}"


def _all_lists(recipe: "Recipe") -> list[str]:
    """The lists that a recipe trains on, adapts to and is scored on."""
    from epicsub.validation import load_protocol

    protocol = load_protocol(Path(recipe.evaluation.protocol))
    names = [*recipe.data.source, *recipe.data.target, protocol.validation.list, protocol.test.list]
    return list(dict.fromkeys(names))


def repack(place: Path, out: Path, shard: int) -> str:
    """Features of others, copied into shards that can be mapped; says what was copied."""
    from epicsub.data.features.external import FRAMES, read_external
    from epicsub.data.features.store import FeatureStore, write_all
    from epicsub.data.parallel import alone

    shards = read_external(place)
    with alone(out):
        store = FeatureStore(out, {"repacked": str(place), "frames": FRAMES})
        written = write_all(store, shards, shard)
    kept = counted(len(store.narration_ids) - written, "was", "were")
    return f"{counted(written, 'segment', 'segments')} copied, {kept} there"
