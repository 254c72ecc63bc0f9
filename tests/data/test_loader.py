"""The watchdog: a worker that never comes back is ended and what it was reading is named."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset, _utils

from epicsub.data import loader
from epicsub.data.loader import make_loader
from epicsub.errors import DataError


class Slow(Dataset):
    """Item 3 takes `seconds`, in C and with Python's lock held: no thread of its process could end it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 3:
            ctypes.PyDLL(None).usleep(int(self.seconds * 1e6))
        return index

    def name_of(self, index: int) -> str:
        return f"P01_01_{index}"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(loader, "POLL_SECONDS", 0.3)
    monkeypatch.setattr(loader, "STUCK_AFTER", 1.0)
    monkeypatch.setattr(_utils, "MP_STATUS_CHECK_INTERVAL", 0.3)


def numbers(seconds, workers=2):
    return make_loader(Slow(seconds), batch_size=2, collate=list, workers=workers)


@pytest.mark.parametrize("workers", [2, None], ids=["two workers", "as many as one core gets"])
def test_a_stuck_worker_is_named_and_ended(impatient, monkeypatch, workers):
    monkeypatch.setattr(loader, "cores", lambda: 1)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"^P01_01_3: a worker has been reading it for 1 s\n.*data\.skip"):
        list(numbers(600, workers))
    assert time.monotonic() - began < 20
    for worker in active_children():
        worker.join(20)  # the signal is on its way
    assert not active_children()


def test_a_slow_worker_is_waited_for(impatient):
    assert list(numbers(0.7)) == [[0, 1], [2, 3], [4, 5]]


class Sized(Dataset):
    """Items of a size, none of which is read."""

    def __init__(self, item_bytes: int) -> None:
        self.item_bytes = item_bytes


MB = 1024**2


@pytest.mark.parametrize(
    ("item", "batch", "asked", "workers", "ahead"),
    [
        (4 * MB, 80, None, 12, 1),  # an adapting step of I3D at 224 pixels
        (4 * MB, 80, 16, 16, 1),  # what was asked for stays
        (120 * MB, 8, None, 4, 1),  # thirty views of a segment
        (8000 * MB, 8, None, 1, 1),
        (4 * MB, 16, None, 16, 4),
        (4096, 16, None, 16, 8),
        (4096, 16, 2, 2, 8),
        (4096, 16, 0, 0, None),
    ],
)
def test_batches_ahead_are_bounded_by_their_bytes(monkeypatch, item, batch, asked, workers, ahead):
    monkeypatch.setattr(loader, "cores", lambda: 64)
    for given in ({"batch_size": batch}, {"batch_sampler": [list(range(batch))] * 3}):
        made = make_loader(Sized(item), workers=asked, **given)
        assert (made.num_workers, made.prefetch_factor) == (workers, ahead)
        if asked is None and item * batch < loader.AHEAD:
            assert made.num_workers * made.prefetch_factor * item * batch <= loader.AHEAD


class Ending(Dataset):
    """Item 3 ends its process by a signal, as the system does for want of memory or a decoder that crashes."""

    def __init__(self, how: int) -> None:
        self.how = how

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 3:
            os.kill(os.getpid(), self.how)
        return index

    def name_of(self, index: int) -> str:
        return f"P01_01_{index}"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (signal.SIGKILL, "P01_01_3: the process that read it was ended by the system .*not enough memory: allow more"),
        (signal.SIGSEGV, "P01_01_3: the process that read it has crashed .*leave the segment out"),
        (signal.SIGBUS, "P01_01_3: the process that read it has ended .*/dev/shm is too small"),
    ],
)
def test_a_worker_that_ends_is_told_at_once(how, message):
    began = time.monotonic()
    with pytest.raises(DataError, match=message):
        list(make_loader(Ending(how), batch_size=2, collate=list, workers=2))
    assert time.monotonic() - began < 20


class Pictures(Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.full((1, 3, 64, 64, 64), index, dtype=torch.uint8)  # 768 kB


def read_pictures() -> None:
    pictures = list(make_loader(Pictures(), batch_size=2, collate=torch.cat, workers=2))
    assert [picture[:, 0, 0, 0, 0].tolist() for picture in pictures] == [[0, 1], [2, 3], [4, 5], [6, 7]]


WITH_SMALL_SHARED_MEMORY = """
import os, sys
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
code = "import logging; logging.basicConfig(); from tests.data.test_loader import read_pictures as read; read()"
mount = f"mount -t tmpfs -o size=1m tmpfs /dev/shm && exec {sys.executable} -c '{code}'"
os.execvp("unshare", ["unshare", "--mount", "sh", "-c", mount])
"""


def run_limited(script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="mounts, which root alone may")
def test_batches_that_the_shared_memory_does_not_hold_come_through_the_pipe():
    done = run_limited(WITH_SMALL_SHARED_MEMORY)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("/dev/shm is too small or cannot be written: make it larger") == 1


FEW_FILES = """
import os, resource
from tests.data.test_loader import read_pictures
from epicsub.errors import DataError
read_pictures()
for more in range(0, 48, 3):
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, 4096))
    try:
        read_pictures()
    except DataError as error:
        print(str(error).replace("\\n", " "))
    else:
        print("read")
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
def test_too_few_open_files_are_told_or_suffice():
    done = run_limited(FEW_FILES)
    lines = done.stdout.splitlines()
    assert len(lines) == 16, done.stderr
    assert "read" in lines
    assert all(line == "read" or "too many open files: allow more (`ulimit -n" in line for line in lines), lines
    assert "Traceback" not in done.stderr
