"""The command line: parse, call, print. One file per command, imported when that command runs."""

from epicsub.cli.main import run

__all__ = ["run"]
