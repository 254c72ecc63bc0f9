"""epicsub hub pull: a model of the hub, into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import hub as api


def pull(
    repository: Annotated[str, typer.Argument(help="hf://ORG/NAME[@REVISION].")],
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: outputs/NAME.")] = None,
) -> None:
    """Fetch a model that was pushed, check it, and write it to a folder that is named as a run is."""
    typer.echo(f"wrote {api.pull(repository, out)}")
