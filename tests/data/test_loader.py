"""The watchdog: a worker that never comes back is ended and what it was reading is named."""

import ctypes
import time
from multiprocessing import active_children

import pytest
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
