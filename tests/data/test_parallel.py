"""Work in processes: in any order, none lost, and a process that the system ends is told as such."""

import os

import pytest

from epicsub.data.parallel import in_processes
from epicsub.errors import DataError


@pytest.mark.parametrize("workers", [1, 2])
def test_every_job_once(workers):
    assert sorted(in_processes(abs, [-3, 1, -2], workers)) == [1, 2, 3]


def test_a_process_that_is_ended():
    with pytest.raises(DataError, match="the system ended one of the processes"):
        list(in_processes(os._exit, [9, 9], 2))
