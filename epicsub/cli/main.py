"""The table of commands, and the entry point that turns an error into a message and an exit status."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from epicsub.constants import __version__
from epicsub.errors import EpicsubError

# name -> (function that runs it, help line: the first line of the function's docstring)
COMMANDS = {
    "train": ("epicsub.cli.train:train", "Train a recipe; a killed run goes on when run again."),
    "adopt": (
        "epicsub.cli.adopt:adopt",
        "Convert a checkpoint of the group's first model, so that validate, predict and submit read it.",
    ),
    "validate": (
        "epicsub.cli.validate:validate",
        "Verb, noun and action accuracy on the validation segments, and whether two targets differ by more than noise.",
    ),
    "predict": ("epicsub.cli.predict:predict", "Predict every segment of a split and write log-probabilities."),
    "submit": (
        "epicsub.cli.submit:submit",
        "Write submission.pt, submission.zip, submission_json.zip and the manifest, and check them.",
    ),
    "check": ("epicsub.cli.check:check", "Reopen a submission and list everything that is wrong with it."),
    "submissions": (
        "epicsub.cli.submissions:submissions",
        "List the submissions, when each was uploaded, and how many uploads are left.",
    ),
    "recipes": (
        "epicsub.cli.recipes:recipes",
        "List the recipes that come with epicsub, or those of a folder and its subfolders.",
    ),
    "show": ("epicsub.cli.recipes:show", "Print a recipe as it will run, defaults and overrides included."),
    "doctor": ("epicsub.cli.doctor:doctor", "Report the devices, decoders, data and Slurm of this machine."),
    "demo": (
        "epicsub.cli.demo:demo",
        "Make kitchens, train two recipes, validate, ensemble with test-time views, write and check the upload.",
    ),
}
ENSEMBLE = {
    "plan": (
        "epicsub.cli.ensemble:plan_members",
        "Rank members by what each adds to those before it, cross-validated over kitchens.",
    ),
    "views": ("epicsub.cli.ensemble:views_table", "Accuracy against cost of test-time views on the validation list."),
}
DATA = {
    "synth": (
        "epicsub.cli.data_synth:synth",
        "Write small synthetic kitchens in the organisers' layout: videos and tables; same seed, same bytes.",
    ),
    "lists": (
        "epicsub.cli.data_lists:lists",
        "Make a protocol's lists under annotations/: a hold-out of whole videos, or MM-SADA's tables as CSV.",
    ),
    "check": (
        "epicsub.cli.data_check:check",
        "Report what is missing, damaged or does not fit. Exit status 2 where a segment cannot be read.",
    ),
    "status": (
        "epicsub.cli.data_status:status",
        "Report annotations, videos, flow, prepared store and features: coverage, size, and what a recipe lacks.",
    ),
    "prepare": (
        "epicsub.cli.data_prepare:prepare",
        "Cut and shrink the videos to what segments need; a killed run can be resumed.",
    ),
    "flow": (
        "epicsub.cli.data_flow:flow",
        "Optical flow of every video under videos/, one seekable file each; what is whole is skipped.",
    ),
    "features": (
        "epicsub.cli.data_features:features",
        "Write each segment's pooled features, per modality; a stopped run can be resumed.",
    ),
}
BENCH = {
    "domains": (
        "epicsub.cli.bench_domains:domains",
        "Train every method on every pair and seed and print the table; a killed study can be resumed.",
    ),
    "agents": (
        "epicsub.cli.bench_agents:agents",
        "Write removal counts, rewards and Q-values, the most removed clips, and t-SNE of the features, per agent.",
    ),
}
GROUPS = {
    "ensemble": (ENSEMBLE, "Which members and which views are worth their cost."),
    "data": (DATA, "Data on the disk: synthetic kitchens, optical flow, the prepared store, features."),
    "bench": (BENCH, "Tables of many runs, and figures of the agents of one run."),
}


class LazyCommand(TyperCommand):
    """A command that is imported when it runs; the lists of commands need only its name and help line."""

    def __init__(self, name: str, target: str, help_line: str) -> None:
        """Remember where the command is.

        Args:
            name: of the command.
            target: `module:function` of the function that runs it.
            help_line: the line beside its name.
        """
        super().__init__(name, help=help_line)
        self.target = target

    def function(self) -> Any:
        """Import the function that runs the command.

        Returns:
            The function, with its options as typer's annotations.
        """
        module, _, function = self.target.partition(":")
        return getattr(import_module(module), function)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and parse its arguments.

        Args:
            info_name: the command's name as it was typed.
            args: the words after it.
            parent: context of the group.
            extra: settings of the new context.

        Returns:
            The context in which the command runs.
        """
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(self.name)(self.function())
        return get_command(single).make_context(info_name, args, parent=parent, **extra)


def _lazy(table: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {name: LazyCommand(name, target, help_line) for name, (target, help_line) in table.items()}


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


def _main(version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True)) -> None:
    """Recipes train, `validate` scores as the organisers do, `submit` writes the upload."""


def _build() -> TyperGroup:
    root = typer.Typer(
        name="epicsub",
        help="From kitchen videos to a valid EPIC-KITCHENS-100 action recognition submission.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    root.callback()(_main)
    group = get_group(root)
    group.commands.update(_lazy(COMMANDS))
    for name, (table, help_line) in GROUPS.items():
        group.commands[name] = TyperGroup(name=name, help=help_line, commands=_lazy(table), no_args_is_help=True)
    return group


app = _build()


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show what the package logs, without a prefix; of several processes of a run, only the first one's."""
    logger, handler = logging.getLogger("epicsub"), logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: os.environ.get("LOCAL_RANK", "0") == "0")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def run() -> None:
    """Run the command line: exit status 0 done, 2 the user must change something, 1 our own fault (traceback)."""
    try:
        with _log_to_stderr():
            app()
    except EpicsubError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        print(f"error: {error.filename or 'disk'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
