"""epicsub train: a recipe becomes a run."""

from pathlib import Path
from typing import Annotated

import typer

from epicsub.api import train as api
from epicsub.cli.options import DataOption, DryRunOption, OverridesArgument, RecipeArgument, ResumeOption, RunOption
from epicsub.progress import process_number


def train(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    out: RunOption = None,
    resume: ResumeOption = True,
    data: DataOption = None,
    dry_run: DryRunOption = False,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Train at rising learning rates and propose one, then exit.")
    ] = False,
    find_batch: Annotated[
        bool, typer.Option("--find-batch", help="Find the largest batch that fits the memory, then exit.")
    ] = False,
) -> None:
    """Train a recipe; a killed run resumes when the command is run again."""
    asked: dict[api.TrialName, bool] = {"dry_run": dry_run, "find_lr": find_lr, "find_batch": find_batch}
    trials = [name for name, wanted in asked.items() if wanted]
    if trials:
        lines = api.run_trials(recipe, overrides or [], trials=trials, out=out, data=data)
    else:
        lines = iter([f"wrote {_train(recipe, overrides or [], out, data, resume)}"])
    for line in lines:
        if process_number() == 0:
            typer.echo(line)


def _train(recipe: str, overrides: list[str], out: Path | None, data: Path | None, resume: bool) -> Path:
    try:
        return api.train(recipe, overrides, out=out, data=data, resume=resume)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("" if resume else "run the same command with --resume to go on") from None
