"""The command line: parse, call, print. Heavy imports stand inside the commands, so that `--help` answers at once."""

import sys

from epicsub.errors import EpicsubError


def run() -> None:
    """Entry point: exit status 0 done, 2 the user must change something, 1 our own fault (with a traceback)."""
    from epicsub.cli.main import app

    try:
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
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
