"""epicsub weights list: the published weights that recipes can name."""

import typer

from epicsub.api.weights import list_weights


# the command `list` of the group; inside this file no other list is needed
def list() -> None:
    """Every published weight file: name, model, source, licence, checksum, and where it lies here."""
    for row in list_weights():
        typer.echo(f"{row.name}  ({row.model})")
        typer.echo(f"  source    {row.source}")
        typer.echo(f"  licence   {row.licence}")
        typer.echo(f"  checksum  {row.checksum or 'none published'}")
        typer.echo(f"  here      {row.path or f'no: epicsub weights fetch {row.name}'}")
