"""Work in a process of its own, which it may bring down, and which has a bound on its time and memory."""

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS, BUSY = 10.0, 6  # of a core for an answer; times that by the clock, for other work goes on beside it
MEMORY = 1 << 30  # bytes that the work may take beside what the process had
Send = Callable[[dict[str, Any]], None]


def in_process(work: Callable[[Send], None], seconds: float = SECONDS) -> list[dict[str, Any]]:
    """What `work` sent from a process of its own; a last answer says how it ended, unless it ended well."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _as_child(work, reading, writing)
    os.close(writing)
    data, ended, last, used = b"", "", time.monotonic(), 0.0
    while True:
        ready, _, _ = select.select([reading], [], [], 1.0)
        if not ready:
            if _used(child) - used > seconds or time.monotonic() - last > BUSY * seconds:
                os.kill(child, signal.SIGKILL)
                ended = "hang"
                break
            continue
        more = os.read(reading, 1 << 20)
        if not more:
            break
        data += more
        if b"\n" in more:
            last, used = time.monotonic(), _used(child)
    os.close(reading)
    _, status, usage = os.wait4(child, 0)
    answers = [json.loads(line) for line in data.split(b"\n") if line.endswith(b"}")]
    grown = usage.ru_maxrss * 1024 - _resident()
    if ended:
        answers.append({"ended": ended, "why": f"no answer within {seconds:g} s, after {len(answers)}"})
    elif os.WIFSIGNALED(status):
        answers.append({"ended": "crash", "why": f"signal {os.WTERMSIG(status)}, after {len(answers)} answers"})
    elif grown > MEMORY:
        answers.append({"ended": "memory", "why": f"grew by {grown / 1e6:.0f} MB"})
    return answers


def _as_child(work: Callable[[Send], None], reading: int, writing: int) -> None:
    os.close(reading)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.dup2(quiet, 1)
    limit = _pages(0) + 3 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with os.fdopen(writing, "wb", buffering=0) as pipe:

        def send(answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode() + b"\n"
            while data:
                data = data[pipe.write(data) :]

        try:
            work(send)
        except MemoryError:
            send({"ended": "memory", "why": traceback.format_exc()[-800:]})
        except BaseException:
            send({"ended": "crash", "why": traceback.format_exc()[-800:]})
    os._exit(0)


def _used(process: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pages(field: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


def _resident() -> int:
    return _pages(1)
