"""epicsub data status: what there is, on one screen."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from epicsub.api.common import data_root
from epicsub.cli.options import DataOption
from epicsub.data.check.status import needs_of, status_of
from epicsub.data.prepared.index import Indexes
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.recipe import Recipe, load_recipe
from epicsub.text import counted, sized
from epicsub.training.loaders import reading_notes, skipped_ids, source_segments, store_of, target_segments
from epicsub.training.preflight import missing_files


def status(
    recipe: Annotated[Path | None, typer.Argument(help="Say what is missing for this recipe.")] = None,
    data: DataOption = None,
) -> None:
    """Annotations, videos, flow, prepared store, features: how complete, how large, what a recipe lacks."""
    loaded = load_recipe(recipe, []) if recipe else None
    root = data_root(data, loaded.recipe.data.root if loaded else None)
    found = status_of(root)
    lists = ", ".join(f"{name} {count}" for name, count in found.lists.items())
    videos = counted(found.videos, "video", "videos")
    segments = counted(found.segments, "segment", "segments")
    typer.echo(f"{root.path}: {segments} of {videos} ({lists or 'no lists of segments'})")
    table = Table("there is", "videos", "segments", "size")
    for form in found.forms:
        size = "single files" if form.size is None else sized(form.size)
        counts = (_share(form.videos, found.videos), _share(form.segments, found.segments))
        table.add_row(form.name, *counts, size)
    Console().print(table)
    if loaded:
        typer.echo(f"for {recipe}:")
        for line in _for_recipe(loaded.recipe, root, found.indexes):
            typer.echo(f"  {line}")


def _share(part: int | None, whole: int) -> str:
    """Like 12 of 700 (1.7 %); nothing where it is not known."""
    return "" if part is None else f"{part} of {whole} ({100 * part / max(1, whole):.1f} %)"


def _for_recipe(recipe: Recipe, root: DataRoot, known: Indexes) -> list[str]:
    """What a run of the recipe would find."""
    try:
        segments = [*source_segments(recipe, root), *(s for part in target_segments(recipe, root) for s in part)]
        lists = ", ".join((*recipe.data.source, *recipe.data.target))
        lines = [f"{counted(len(segments), 'segment', 'segments')} in {lists}"]
        if recipe.data.skip:
            skipped = counted(len(skipped_ids(recipe)), "segment is", "segments are")
            lines.append(f"{skipped} named in {recipe.data.skip} and left out")
        store = store_of(recipe, root, segments, known)
        if recipe.data.features:
            return [
                *lines,
                *reading_notes(recipe, root, segments, store),
                *missing_files(recipe, root, segments, store),
            ]
        return [*lines, *needs_of(root, segments, recipe.data.modalities, store.indexes), store.note]
    except DataError as error:
        return str(error).splitlines()
