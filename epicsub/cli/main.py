"""The table of commands, and the entry point that turns an error into a message and an exit status."""

import io
import logging
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from epicsub.constants import __version__
from epicsub.errors import EpicsubError, RunStoppedError
from epicsub.io import is_standard_output, user_path
from epicsub.io.files import os_reason
from epicsub.io.limits import describe_shortage

# Each command is the function of its name in the file of its name, with its group's name before it: data_flow.py.
COMMANDS = (
    "train", "pretrain", "adopt", "validate", "predict", "submit", "check", "submissions", "recipes", "show", "doctor",
    "demo", "live", "export",
)  # fmt: skip
GROUPS = {
    "ensemble": (("plan", "views"), "Which members and which views are worth their cost."),
    "data": (
        ("synth", "lists", "check", "status", "prepare", "flow", "boxes", "features", "stage"),
        "Data on the disk: synthetic kitchens, optical flow, the prepared store, features.",
    ),
    "weights": (("list", "fetch", "convert"), "Published weights: what there is, and getting one."),
    "hub": (("push", "pull"), "Trained models on the Hugging Face hub, as safetensors with a model card."),
    "bench": (("domains", "agents", "order", "boxes"), "Tables of many runs, and figures of one of them."),
}


GO_ON = 75
"""Exit status of a run that goes on when it is started again: EX_TEMPFAIL of sysexits.h."""


class LazyCommand(TyperCommand):
    """A command that is imported when it runs; the lists of commands need only its name and help line."""

    def __init__(self, name: str, group: str = "") -> None:
        """Read the help line, the first line of the function's docstring, without importing the function.

        Args:
            name: of the command and of the function that runs it.
            group: name of the group it belongs to; empty for none.
        """
        self.file, self.function = f"{group}_{name}".lstrip("_"), name
        source = (Path(__file__).parent / f"{self.file}.py").read_text(encoding="utf-8")
        found = re.search(rf'^def {self.function}\(.*?^    """(.*?)(?:"""|$)', source, re.DOTALL | re.MULTILINE)
        super().__init__(name, help=found[1] if found else None)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Import the command and parse its arguments; where one writes to standard output, print to standard error.

        Args:
            info_name: the command's name as it was typed.
            args: the words after it.
            parent: context of the group.
            extra: settings of the new context.

        Returns:
            The context in which the command runs.
        """
        function = getattr(import_module(f"epicsub.cli.{self.file}"), self.function)
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(self.name)(function)
        context: Any = get_command(single).make_context(info_name, args, parent=parent, **extra)
        for name, kind in get_type_hints(function).items():
            value = context.params.get(name)
            if isinstance(value, str | Path) and Path in (kind, *get_args(kind)):
                context.params[name] = user_path(value)
                if is_standard_output(context.params[name]):
                    context.with_resource(redirect_stdout(sys.stderr))
        return context


class InterruptibleGroup(TyperGroup):
    """The commands; one that Ctrl-C stops says where it stands, and ends with status 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Args:
            ctx: the context of all commands.

        Returns:
            What the command returns.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            advice = str(stopped) or "run the same command again to go on"
        # The exception is gone here, and with it what it held: workers, and the bar that would be drawn over this line.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        from epicsub.progress import position, process_number  # with rich, which takes time that --help has not

        if process_number() == 0:
            where = f" at {now}" if (now := position()) else ""
            print(f"interrupted{where}: what is whole is kept; {advice}", file=sys.stderr)
        raise SystemExit(130)


def _lazy(names: Sequence[str], group: str = "") -> dict[str, Any]:
    return {name: LazyCommand(name, group) for name in names}


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


def _main(version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True)) -> None:
    """Recipes train, `validate` scores as the organisers do, `submit` writes the upload."""


def _build() -> TyperGroup:
    root = typer.Typer(
        name="epicsub",
        cls=InterruptibleGroup,
        help="From kitchen videos to a valid EPIC-KITCHENS-100 action recognition submission.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    root.callback()(_main)
    group = get_group(root)
    group.commands.update(_lazy(COMMANDS))
    for name, (names, help_line) in GROUPS.items():
        group.commands[name] = TyperGroup(name=name, help=help_line, commands=_lazy(names, name), no_args_is_help=True)
    return group


app = _build()


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show what the package logs, without a prefix; of several processes of a run, only the first one's."""

    def is_first(record: logging.LogRecord) -> bool:
        from epicsub.progress import process_number  # with rich, which takes time that --help has not

        return process_number() == 0

    logger, handler = logging.getLogger("epicsub"), logging.StreamHandler(sys.stderr)
    handler.addFilter(is_first)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def run() -> None:
    """Run the command line: exit status 0 done, 2 the user must change something, 1 our own fault (traceback).

    A run that a signal has ended, or the loss of one of its processes, has 75, by which a job queues itself again.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name may hold what the terminal's encoding has not
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with _log_to_stderr():
            app()
    except EpicsubError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except RunStoppedError as stopped:
        from epicsub.progress import process_number  # with rich, which takes time that --help has not

        if process_number() > 0:
            sys.exit(0)
        print(stopped, file=sys.stderr)
        sys.exit(GO_ON)
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        if (shortage := describe_shortage(error)) is not None:
            print(f"error: {shortage}", file=sys.stderr)
            sys.exit(2)
        if not isinstance(error, OSError) or (error.filename is None and error.errno is None):
            raise
        print(f"error: {error.filename or 'disk'}: {os_reason(error)}", file=sys.stderr)
        sys.exit(2)
