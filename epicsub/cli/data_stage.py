"""epicsub data stage: what a recipe reads, on the node's own disk."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.stage import plan_staging
from epicsub.cli.options import DataOption, OverridesArgument
from epicsub.text import counted, sized


def stage(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder on the node's disk: a data root afterwards.")],
    recipe: Annotated[str, typer.Argument(help="Name or path of the recipe that will read it.")],
    overrides: OverridesArgument = None,
    data: DataOption = None,
) -> None:
    """Copy what a recipe reads of the prepared store to a disk of the node; a killed copy can be resumed."""
    staging = plan_staging(recipe, out, overrides or [], data=data)
    typer.echo(
        f"{staging.root.path}: {counted(len(staging.files), 'file', 'files')} to copy, {sized(staging.size)}; "
        f"{staging.kept} there, {sized(staging.kept_size)}; {sized(staging.check_space())} free"
    )
    staging.run()
    typer.echo(f"wrote {out}: train with --data {out}")
