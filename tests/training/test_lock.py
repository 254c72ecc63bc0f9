"""Two processes cannot train into one folder, and a lock ends with its process."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from epicsub.errors import TrainingError
from epicsub.training.run_folder import run_lock

HOLD = """
import os, sys
from pathlib import Path
from epicsub.training.run_folder import run_lock
with run_lock(Path(sys.argv[1])):
    if len(sys.argv) > 2 and os.fork() == 0:  # a worker, which outlives its parent a little
        os.close(1)
        sys.stdin.readline()
        os._exit(0)
    print("held", flush=True)
    import time
    time.sleep(60)
"""


def hold(folder: Path, *more: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_with_the_firsts_name_and_may_follow_it(tmp_path: Path) -> None:
    process = hold(tmp_path)
    with pytest.raises(TrainingError, match=f"process {process.pid} on .* trains into this folder"), run_lock(tmp_path):
        pass
    process.kill()
    process.wait()
    with run_lock(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()


def test_half_a_checkpoint_of_a_killed_run_is_removed(tmp_path: Path) -> None:
    process = hold(tmp_path)
    half, other = tmp_path / ".last.k3_x0abc.pth", tmp_path / ".mine.pth"
    half.touch()
    other.touch()
    with pytest.raises(TrainingError), run_lock(tmp_path):
        pass
    assert half.exists()  # its writer may be about to rename it
    process.kill()
    process.wait()
    with run_lock(tmp_path):
        assert not half.exists()
    assert other.exists()


def test_workers_of_a_killed_run_do_not_keep_its_lock(tmp_path: Path) -> None:
    process = hold(tmp_path, "with a worker")
    with pytest.raises(TrainingError), run_lock(tmp_path):  # the worker's fork did not free it
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with run_lock(tmp_path):  # while the worker lives
        pass
    assert process.stdin is not None
    process.stdin.close()  # the worker ends


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(TrainingError, match="lock: this file system cannot lock files"), run_lock(tmp_path):
        pass


def test_other_processes_of_a_run_take_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")  # as the first process of a run, this one's parent, starts it
    monkeypatch.setenv("EPICSUB_STARTED_BY", f"{os.getppid()}:0")
    with run_lock(tmp_path):
        assert not (tmp_path / "lock").exists()
