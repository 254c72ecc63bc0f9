"""Work in processes: in any order, none lost, and a process that the system ends is reported."""

import errno
import fcntl
import multiprocessing
import os
import time

import pytest

from epicsub.errors import DataError
from epicsub.io import hold_folder
from epicsub.progress import in_processes


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_once(workers):
    assert sorted(in_processes(abs, [-3, 1, -2], workers)) == [1, 2, 3]


def test_a_process_that_is_ended():
    with pytest.raises(DataError, match="the system ended one of the processes"):
        list(in_processes(os._exit, [9, 9], 2))


def test_a_forked_worker_does_not_hold_the_folder(tmp_path):
    forked = multiprocessing.get_context("fork")
    begun = forked.Event()
    with hold_folder(tmp_path):
        worker = forked.Process(target=lambda: (begun.set(), time.sleep(60)))
        worker.start()
        begun.wait()
    try:
        with hold_folder(tmp_path):
            pass
    finally:
        worker.kill()
        worker.join()


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(DataError, match=r"made/\.lock: this file system cannot lock files"),
        hold_folder(tmp_path / "made"),
    ):
        pass
