"""Start `epicsub` commands by forking a process that has imported it, so that a start takes milliseconds.

Each command leads a process group of its own, which holds all that it starts. Imported, this is the client; run, it is
the server: a line {"words", "folder"} of JSON in, the command's process number out, and once it and all that it started
have ended, its exit status (negative: by that signal).
"""

import ctypes
import gc
import importlib
import json
import multiprocessing.util
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
IMPORTED = ("epicsub.api.train", "epicsub.api.submit", "epicsub.api.plan", "epicsub.api.validate", "epicsub.cli.main")
BUSY = 5
_PR_SET_CHILD_SUBREAPER = 36  # of prctl(2)


class ForkServer:
    """Starts one command at a time; its messages go to the file `log` in its working folder."""

    FILE = __file__

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen([sys.executable, self.FILE], env=environment, stdin=-1, stdout=-1)

    def start(self, words: list[str], folder: Path, memory: int | None = None) -> int:
        """Process number of a command that now runs in a folder, with so many bytes more of address space at most."""
        request = {"words": words, "folder": str(folder), "memory": memory}
        self._server.stdin.write(json.dumps(request).encode() + b"\n")
        self._server.stdin.flush()
        return self._answer()

    def running(self) -> bool:
        """Whether the command has not ended yet."""
        return not select.select([self._server.stdout], [], [], 0)[0]

    def wait(self, process: int, seconds: float) -> int | None:
        """Exit status of the command once all of its processes have ended; None if it had to be ended.

        It may take so many seconds of a processor, and BUSY times that by the clock: other work goes on beside it.
        """
        end = time.monotonic() + BUSY * seconds
        while not select.select([self._server.stdout], [], [], 0.5)[0]:
            if time.monotonic() > end or _processor_seconds(process) > seconds:
                self.kill(process)
                return None
        return self._answer()

    def kill(self, process: int) -> int:
        """End a command and its workers with SIGKILL; its exit status, which is -9 unless it had ended before."""
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        return self._answer()

    def _answer(self) -> int:
        line = self._server.stdout.readline()  # one line at a time is all there is: select sees what is to come
        if not line:
            raise RuntimeError("the fork server has ended")
        return int(line)


def _processor_seconds(group: int) -> float:
    """Of all processes of a group that are there now, and of those that they have waited for."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def serve() -> None:
    """Start what each line of the standard input asks for, one after the other."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # else each command's garbage collector touches, and so copies, all that was imported
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # workers whose parent was killed come to this process
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if process == 0:
            os.setpgid(0, 0)
            if request["memory"]:
                held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (held + request["memory"],) * 2)
            _run(request["words"], request["folder"])
        with suppress(PermissionError, ProcessLookupError):  # the child has done so, or has ended
            os.setpgid(process, process)
        print(process, file=answers, flush=True)
        status = 0
        with suppress(ChildProcessError):
            while True:
                ended, how = os.wait()
                if ended == process:
                    status = os.waitstatus_to_exitcode(how)
        print(status, file=answers, flush=True)


def _run(words: list[str], folder: str) -> NoReturn:
    os.chdir(folder)
    messages = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, standard in ((nothing, 0), (messages, 1), (messages, 2)):
        os.dup2(given, standard)
    sys.argv = ["epicsub", *words]
    status = 1
    try:
        importlib.import_module("epicsub.cli").run()
        status = 0
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        multiprocessing.util._exit_function()  # joins workers, as the interpreter does when it ends
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
