"""The command line: parse, call, print. One file per command, imported when that command runs."""

import sys


def run() -> None:
    """Run the command line; `epicsub.cli.main` says how it ends."""
    try:
        from epicsub.cli.main import run as run_command  # here, so that Ctrl-C while it loads is no traceback

        run_command()
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        sys.exit(130)
