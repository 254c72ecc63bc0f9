"""What the processes of a run must agree on: that they are of one code, when they stop, and who of them is lost."""

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.distributed
from lightning_fabric import Fabric

from epicsub.constants import __version__
from epicsub.errors import EpicsubError, RunStoppedError, TrainingError
from epicsub.training.checkpoint import source_commit

SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGTERM") if hasattr(signal, name))
"""Slurm's before a time limit (`sbatch --signal`), and everybody's."""
LOST = ("connection closed", "connection reset", "broken pipe", "timed out", "timeout", "nccl", "socket")
"""Words of torch's errors where another process does not answer."""
ANSWER_SECONDS = 5.0


class _Self(NamedTuple):
    """What a process says of itself."""

    host: str
    version: str
    commit: str
    digest: str
    torch: str
    step: int


class StopSignals:
    """While open, SIGUSR1 and SIGTERM are remembered, and end the run after a step."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *raised: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def agreed(self, fabric: Fabric) -> int:
        """Ask all processes; each must call it after each step.

        Args:
            fabric: with the processes.

        Returns:
            The signal's number, the same in all; 0 for none.
        """
        if fabric.world_size == 1:
            return self.received
        found = torch.tensor([self.received], device=fabric.device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return int(found)


def stopped(number: int, step: int, total: int) -> RunStoppedError:
    """Say that a signal has ended the run.

    Args:
        number: of the signal.
        step: whose checkpoint is written.
        total: steps of the run.

    Returns:
        What to raise.
    """
    return RunStoppedError(
        f"stopped by {signal.Signals(number).name} after step {step} of {total}: its checkpoint is written; run the "
        "same command again to go on"
    )


def check_agreement(fabric: Fabric, step: int) -> list[str]:
    """Compare code and checkpoint of all processes.

    Args:
        fabric: launched.
        step: of the checkpoint that this process goes on from; 0 for none.

    Returns:
        Name of each process's node.

    Raises:
        TrainingError: processes of another version, commit or torch than the first, or that do not see its checkpoint.
    """
    own = _Self(socket_name(), __version__, source_commit(), _digest(), torch.__version__, step)
    if fabric.world_size == 1:
        return [own.host]
    found: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(found, own)
    first, problems = found[0], []
    for number, other in enumerate(found):
        where = f"process {number} on {other.host}"
        if other[1:4] != first[1:4]:
            problems.append(f"{where} has epicsub {_code(other)}, process 0 on {first.host} {_code(first)}")
        if other.torch != first.torch:
            problems.append(f"{where} has torch {other.torch}, process 0 on {first.host} {first.torch}")
        if other.step != first.step:
            problems.append(
                f"{where} goes on from step {other.step}, process 0 on {first.host} from step {first.step}: the run's "
                "folder must be on a file system that all nodes see"
            )
    if problems:
        raise TrainingError("\n".join([*problems, "Install the same code on all nodes; nothing was started"]))
    return [other.host for other in found]


@contextmanager
def name_the_lost(fabric: Fabric, hosts: list[str]) -> Iterator[None]:
    """Within, a process that no longer answers ends this one too, with a message that names it.

    Args:
        fabric: launched.
        hosts: name of each process's node.

    Yields:
        Once.

    Raises:
        RunStoppedError: a process is gone.
        TrainingError: a process has ended with a message.
    """
    try:
        yield
    except EpicsubError as error:
        if fabric.world_size > 1:
            _store_set(f"ended_{fabric.global_rank}", str(error))
        raise
    except RuntimeError as error:
        if fabric.world_size == 1 or not any(word in str(error).lower() for word in LOST):
            raise
        lost, said = _missing(fabric)
        names = ", ".join(f"process {number} on {hosts[number]}" for number in lost) or "a process"
        if said:
            raise TrainingError(
                f"{names} has ended, and this one (process {fabric.global_rank}) with it: {said}"
            ) from None
        raise RunStoppedError(
            f"{names} no longer answers: it was killed, or its node is down. Process {fabric.global_rank} on "
            f"{hosts[fabric.global_rank]} ends too; run the same command again to go on from the last checkpoint"
        ) from error


def socket_name() -> str:
    """Name the node that this process is on.

    Returns:
        As Slurm knows it, else the machine's name.
    """
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _missing(fabric: Fabric) -> tuple[list[int], str]:
    """Processes that do not say within some seconds that they are there, and the message of one that has ended."""
    others = [number for number in range(fabric.world_size) if number != fabric.global_rank]
    if not _store_set(f"alive_{fabric.global_rank}", "yes"):
        return [0], ""  # the first process holds the store
    end = time.monotonic() + ANSWER_SECONDS
    while True:
        ended = [number for number in others if _store_has(f"ended_{number}")]
        lost = [number for number in others if not _store_has(f"alive_{number}")]
        if ended:
            return ended, _store().get(f"ended_{ended[0]}").decode()
        if not lost or time.monotonic() > end:
            return lost, ""
        time.sleep(0.2)


def _store() -> Any:
    return torch.distributed.distributed_c10d._get_default_store()


def _store_set(key: str, text: str) -> bool:
    try:
        _store().set(key, text)
    except (RuntimeError, ValueError):
        return False
    return True


def _store_has(key: str) -> bool:
    try:
        return bool(_store().check([key]))
    except RuntimeError:
        return False


def _code(other: _Self) -> str:
    return f"{other.version} at commit {other.commit} (files {other.digest})"


@cache
def _digest() -> str:
    """Of the package's source, which says more than a commit with local changes."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:12]
