"""epicsub pretrain: a recipe without labels becomes weights to start from."""

from typing import Annotated

import typer

from epicsub.api import pretrain as api
from epicsub.cli.options import DataOption, DryRunOption, OverridesArgument, ResumeOption, RunOption


def pretrain(
    recipe: Annotated[str, typer.Argument(help="Name or path of a recipe with a pretext, e.g. order_i3d.")],
    overrides: OverridesArgument = None,
    out: RunOption = None,
    resume: ResumeOption = True,
    data: DataOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Pre-train a recipe by the order of shuffled clips, without labels; a killed run resumes."""
    if dry_run:
        for line in api.try_pretraining(recipe, overrides or [], out=out, data=data):
            typer.echo(line)
        return
    try:
        files = api.pretrain(recipe, overrides or [], out=out, data=data, resume=resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("" if resume else "run the same command with --resume to go on") from None
    for path in files.values():
        typer.echo(f"wrote {path}")
    typer.echo(f"train from them with {api.weights_line(recipe, files)}")
