"""A run's folder: one process at a time in it, and what a run leaves to read.

That is `metrics.jsonl`, TensorBoard curves, and `removed.jsonl`, one object per line each. `removed.jsonl` holds what
agents remove from each batch, for `epicsub bench agents`, a line per step that adapts:

    {"step": 4001, "source": [narration ids], "target": [...], "removed": {"rgb_source": [positions in source], ...}}
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from epicsub.data.batch import Batch
from epicsub.errors import TrainingError
from epicsub.io import remove_leftovers, try_lock, write_text
from epicsub.io.limits import writing
from epicsub.progress import process_number

REMOVALS_FILE = "removed.jsonl"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold `folder/lock` for the block, in the first process of a run; the others belong to it and hold nothing.

    The file stays when the lock is released. It names its holder, for the message to a second run. Half a checkpoint
    that a killed run left is removed.

    Args:
        folder: the run's folder, made where it is missing.

    Yields:
        While the folder is held.

    Raises:
        TrainingError: another process trains into the folder, or the folder cannot be written or locked.
    """
    if process_number() > 0:
        yield
        return
    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise TrainingError(
            f"{path}: cannot be written ({error.strerror}); choose another folder with --out"
        ) from error
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    try:
        lock = try_lock(path, f"process {os.getpid()} on {socket.gethostname()} since {since}\n")
    except OSError as error:
        raise TrainingError(
            f"{path}: this file system cannot lock files ({error.strerror}), so two runs could spoil each other; "
            "give an --out on another one"
        ) from error
    if lock is None:
        raise TrainingError(
            f"{folder}: {_holder(path)} trains into this folder; wait for it, end it, or give another --out"
        )
    try:
        remove_leftovers(folder.glob(".*"), ".pth", ".yaml", ".jsonl")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except OSError:  # Windows lets nobody read what is locked
        return "another process"


class RunLog:
    """Appends metrics by step.

    Args:
        folder: the run's.
        resumed_step: lines after it are of a run that was cut off, and are dropped.
    """

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        _drop_after(self.path, resumed_step)
        self._file = self.path.open("a", encoding="utf-8")
        self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def write(self, kind: str, step: int, metrics: dict[str, float], **more: Any) -> None:
        """Add a line `{"kind": ..., "step": ..., metrics...}` and a point on each metric's curve.

        Args:
            kind: train, validation, ...
            step: of the run, from 1.
            metrics: values by name.
            more: further entries of the line, without a curve.
        """
        with writing(self.path):
            self._file.write(json.dumps({"kind": kind, "step": step, **more, **metrics}) + "\n")
            self._file.flush()
            for name, value in metrics.items():
                self._curves.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close both files."""
        with writing(self.path):
            self._file.close()
            self._curves.close()


class RemovalLog:
    """Keeps positions as tensors until `flush`, so that a step does not wait for the device.

    Args:
        folder: the run's.
        resumed_step: lines after it are of a run that was cut off, and are dropped.
    """

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        self.path = folder / REMOVALS_FILE
        if self.path.is_file():
            _drop_after(self.path, resumed_step)
        self._pending: list[tuple[int, dict[str, list[str]], dict[str, Tensor]]] = []

    def add(self, step: int, batch: Batch, removed: dict[str, Tensor]) -> None:
        """Remember what agents removed from a batch.

        Args:
            step: of the run, from 1.
            batch: that they have seen.
            removed: positions in the batch, by agent; nothing is remembered where it is empty.
        """
        if removed:
            self._pending.append((step, batch.ids(), removed))

    def flush(self) -> None:
        """Write what is pending."""
        if not self._pending:
            return
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            for step, seen, removed in self._pending:
                positions = {agent: found.tolist() for agent, found in removed.items()}
                file.write(json.dumps({"step": step, **seen, "removed": positions}) + "\n")
        self._pending.clear()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a `metrics.jsonl`.

    Args:
        path: the file.

    Returns:
        All whole lines; a last line that a kill cut short is left out. Empty where there is no file.
    """
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def _drop_after(path: Path, step: int) -> None:
    """Keep the lines of a file up to a step."""
    lines = [line for line in read_metrics(path) if line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
