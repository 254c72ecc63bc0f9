"""The fork server, whose commands begin under a limit: the first word of each is JSON of what to set."""

import json
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.campaigns import fork_server

LIMITS = {"files": resource.RLIMIT_NOFILE, "memory": resource.RLIMIT_AS, "file size": resource.RLIMIT_FSIZE}


class LimitedServer(fork_server.ForkServer):
    """Starts one command at a time, under a limit."""

    FILE = __file__

    def start_limited(self, limit: dict[str, int], words: list[str], folder: Path) -> int:
        """Process number of a command that now runs; `limit` holds one of LIMITS and its value, or nothing."""
        return self.start([json.dumps(limit), *words], folder)


def _run(words: list[str], folder: str) -> None:
    limit, *rest = words
    for name, value in json.loads(limit).items():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if name == "memory" else 0
        resource.setrlimit(LIMITS[name], (used + value, used + value))
    run(rest, folder)


if __name__ == "__main__":
    run = fork_server._run
    fork_server._run = _run
    fork_server.serve()
