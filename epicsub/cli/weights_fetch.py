"""epicsub weights fetch: a published weight file, checked and converted."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.weights import fetch_weights


def fetch(
    names: Annotated[list[str], typer.Argument(help="Names of `epicsub weights list`.", metavar="NAME...")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder. Default: torch's cache, where recipes look.")
    ] = None,
) -> None:
    """Find or download published weights, check them, and keep them as safetensors."""
    for name in names:
        typer.echo(f"{name}: {fetch_weights(name, out)}")
