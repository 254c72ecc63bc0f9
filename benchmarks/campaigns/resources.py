"""A machine that lacks something while a long command runs: one message, nothing lost.

Each fault meets each command. The command may do its work all the same, or end with status 2 and one message; never
with a traceback or none at all, and never without end. Then the fault is taken away and the command is run again:
every file is that of a run left alone, byte by byte (see kill). Mounts need root; without it those faults count as
"skipped". A quota is a limit of a file's size here, and the clock is set back by giving files times in the future.
"""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from benchmarks.campaigns import kill
from benchmarks.campaigns.kill import Command
from benchmarks.campaigns.limited_server import LimitedServer

EACH = 6  # trials of each fault with each command
MUST_BE_ZERO = ("traceback", "silent", "status", "hung", "failed", "different")
LIMIT_SECONDS = 120
FUTURE = 2_000_000_000.0  # 2033, in seconds
_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of unshare(2)

COMMANDS = {
    "train": Command(("train", "recipe.yaml", *kill.DATA, "--out", "run"), ("run",)),
    "data prepare": Command((*kill.PREPARE, "2"), ("kitchens/prepared",), workers=True),
    "data flow": Command((*kill.FLOW, "2"), ("kitchens/flow",), workers=True),
    "data features": Command(("data", "features", "a", *kill.DATA, "--out", "f", "--per-file", "4"), ("f",)),
    "predict": Command((*kill.PREDICT, "o/out.npz"), ("o", kill.MEMBERS[0])),
    "submit": Command((*kill.SUBMIT, "a"), ("submissions", kill.MEMBERS[0])),
    "ensemble": Command(
        (*kill.SUBMIT, "--ensemble", "a", "b", "--weights", "search"), ("submissions", *kill.MEMBERS)
    ),
}  # fmt: skip
Fault = Callable[[Path, Command, random.Random], Iterator["Limit"]]


class Limit(dict[str, int]):
    """What a command begins with, and what happens to it while it runs."""

    during: Callable[[int], None] | None = None


def prepare(folder: Path) -> None:
    kill.prepare(folder)


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    fault = list(FAULTS)[index % len(FAULTS)]
    name = list(COMMANDS)[index // len(FAULTS) % len(COMMANDS)]
    command = COMMANDS[name]
    if fault in MOUNTED and not _own_mounts():
        return {"outcome": "skipped", "detail": f"{fault}: {name}: mounts, which root alone may"}
    alone = kill._alone(folder, command)
    work = kill._lay_out(folder, command, "met")
    with contextmanager(FAULTS[fault])(work, command, rng) as limit:
        began = _server().start_limited(limit, list(command.words), work)
        if limit.during:
            limit.during(began)
        status = _server().wait(began, LIMIT_SECONDS)
    told = (work / "log").read_text()
    did = f"{fault} {dict(limit) or ''}: {name}: status {status}: {told[-700:]}"
    if (found := _judge(status, told)) is not None:
        return {"outcome": found, "detail": did}
    again = _server().wait(_server().start_limited({}, list(command.words), work), LIMIT_SECONDS)
    if again != 0:
        later = (work / "log").read_text()[len(told) :]
        return {"outcome": "hung" if again is None else "failed", "detail": f"{did}; run again: {later[-700:]}"}
    if differing := kill._differing(alone["files"], kill._files(work, command)):
        return {"outcome": "different", "detail": f"{did}; {differing}"}
    return {"outcome": "went through" if status == 0 else "refused", "detail": did}


def figures(counts: dict[str, int]) -> dict[str, int]:
    ended = counts["went through"] + counts["refused"]
    return {"resources_total": sum(counts.values()) - counts["skipped"], "resources_right": ended}


def _judge(status: int | None, told: str) -> str | None:
    if status is None:
        return "hung"
    if "Traceback" in told:
        return "traceback"
    if status not in (0, 2):
        return "status"
    return "silent" if status == 2 and told.count("error: ") != 1 else None


@cache
def _server() -> LimitedServer:
    return LimitedServer()


@cache
def _own_mounts() -> bool:
    """Part from the machine's mounts, before the server starts, which then sees the same as this process."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(_NEW_MOUNTS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0


@contextmanager
def _mounted(place: Path, *options: str) -> Iterator[None]:
    if not place.exists():
        place.mkdir(parents=True)
    subprocess.run(["mount", *options, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _small_disk(work: Path, command: Command, options: str) -> Iterator[Limit]:
    """Lay what the command makes on a disk of its own; what it has made stays when the disk is taken away."""
    made = work / command.makes[0]
    disk = work.parent / "disk"
    with _mounted(disk, "-t", "tmpfs", "-o", options, "tmpfs"):
        (disk / "content").mkdir()
        made.parent.mkdir(parents=True, exist_ok=True)
        made.mkdir()
        with _mounted(made, "--bind", str(disk / "content")):
            yield Limit()
        shutil.copytree(disk / "content", made, dirs_exist_ok=True)


def _full_disk(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    yield from _small_disk(work, command, f"size={rng.choice((4, 16, 64, 256, 512, 1024))}k")


def _no_inode(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    yield from _small_disk(work, command, f"size=256m,nr_inodes={rng.randint(2, 9)}")


def _read_only(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    place = rng.choice([work, work / "kitchens"])
    log = work.parent / "log"
    log.touch()
    (work / "log").touch()
    with _mounted(place, "--bind", str(place)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        with _mounted(work / "log", "--bind", str(log)):
            yield Limit()
    shutil.copy(log, work / "log")


def _quota(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    yield Limit({"file size": rng.choice((10_000, 30_000, 100_000))})


def _few_files(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    yield Limit(files=rng.randint(6, 60))


def _little_memory(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    yield Limit(memory=rng.choice((1, 8, 32, 64, 128, 512)) << 20)


def _tiny_shared_memory(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    with _mounted(Path("/dev/shm"), "-t", "tmpfs", "-o", f"size={rng.choice((4, 16, 64))}k", "tmpfs"):
        yield Limit()


def _killed_worker(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    limit, delay = Limit(), rng.random() * 2

    def kill_one(process: int) -> None:
        end = time.monotonic() + LIMIT_SECONDS
        while _server().running() and time.monotonic() < end:
            if workers := _workers(process):
                time.sleep(delay)
                with suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                return
            time.sleep(0.01)

    limit.during = kill_one
    yield limit


def _workers(process: int) -> list[int]:
    """Children, but for the one that clears up behind them all."""
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(process)], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "resource_tracker" not in line]


def _clock_set_back(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    """A run that is killed, whose files then have times in the future; the next one is watched."""
    process = _server().start_limited({}, list(command.words), work)
    time.sleep(rng.random() * 4)
    _server().kill(process)
    (work / "log").unlink()
    for made in command.makes:
        for path in [work / made, *(work / made).rglob("*")]:
            if path.exists():
                os.utime(path, (FUTURE, FUTURE))
    yield Limit()


@cache
def _second() -> LimitedServer:
    return LimitedServer()


def _two_at_once(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    """The other's message is judged as this one's: it is added to the log."""
    limit, delay = Limit(), rng.random() * 2

    def start_another(process: int) -> None:
        time.sleep(delay)
        other = _second().start_limited({}, list(command.words), work)
        if (status := _second().wait(other, LIMIT_SECONDS)) not in (0, 2):
            raise RuntimeError(f"the second ended with status {status}: {(work / 'log').read_text()[-700:]}")
        limit.second = status

    limit.during = start_another
    yield limit
    log = work / "log"
    if getattr(limit, "second", 0) == 2:  # one message of two is the second's
        log.write_text(log.read_text().replace("error: ", "the other: ", 1))


def _folder_vanishes(work: Path, command: Command, rng: random.Random) -> Iterator[Limit]:
    limit, delay = Limit(), rng.random() * 4
    gone = rng.choice([*command.makes, "kitchens/videos", "kitchens/annotations"])
    aside = work.parent / "aside"

    def take_away(process: int) -> None:
        time.sleep(delay)
        with suppress(FileNotFoundError):
            (work / gone).rename(aside)

    limit.during = take_away
    yield limit
    if aside.exists() and gone not in command.makes:
        shutil.rmtree(work / gone, ignore_errors=True)
        aside.rename(work / gone)


MOUNTED = {"full disk", "no inode", "read-only", "tiny shared memory"}
FAULTS: dict[str, Fault] = {
    "full disk": _full_disk,
    "no inode": _no_inode,
    "read-only": _read_only,
    "quota": _quota,
    "few open files": _few_files,
    "little memory": _little_memory,
    "tiny shared memory": _tiny_shared_memory,
    "killed worker": _killed_worker,
    "clock set back": _clock_set_back,
    "two at once": _two_at_once,
    "folder vanishes": _folder_vanishes,
}
TOTAL = EACH * len(FAULTS) * len(COMMANDS)
