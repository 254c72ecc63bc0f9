"""epicsub hub push: a run, with a card, to the hub."""

from typing import Annotated

import typer

from epicsub.api import hub as api
from epicsub.cli.options import DataOption, ProtocolOption


def push(
    run: Annotated[str, typer.Argument(help="A checkpoint or a run.")],
    repository: Annotated[str, typer.Argument(help="ORG/NAME, made where it is missing; @BRANCH for another branch.")],
    private: Annotated[bool, typer.Option("--private", help="For its owner alone, where it is made.")] = False,
    protocol: ProtocolOption = None,
    data: DataOption = None,
) -> None:
    """Upload weights, recipe, and a card made of the recipe and the recorded validation."""
    pushed = api.push(run, repository, protocol=protocol, data=data, private=private)
    for note in pushed.notes:
        typer.echo(note)
    typer.echo(f"pushed {pushed.address}, commit {pushed.commit}")
    typer.echo(f"to use it: epicsub validate hf://{pushed.address.repository}@{pushed.commit}")
