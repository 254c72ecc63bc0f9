"""What agents take out of each batch, for `epicsub bench agents`: `removed.jsonl`, a line for each step that adapts.

    {"step": 4001, "source": [narration ids], "target": [...], "removed": {"rgb_source": [positions in source], ...}}

Of several processes the first one's share of the batch is noted: each refines its own.
"""

import json
from pathlib import Path

from torch import Tensor

from epicsub.data.batch import Batch
from epicsub.io import write_text
from epicsub.training.logging import read_metrics

FILE = "removed.jsonl"


class RemovalLog:
    """Keeps positions as tensors until `flush`, so that a step does not wait for the device."""

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        """Lines after `resumed_step` are of a run that was cut off, and are dropped."""
        self.path = folder / FILE
        if self.path.is_file():
            kept = [line for line in read_metrics(self.path) if line["step"] <= resumed_step]
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._waiting: list[tuple[int, dict[str, list[str]], dict[str, Tensor]]] = []

    def note(self, step: int, batch: Batch, removed: dict[str, Tensor]) -> None:
        """Remember a step, numbered from 1, whose batch agents have looked at; without agents there is nothing."""
        if removed:
            seen = {domain: part.narration_ids for domain, part in batch.by_domain().items()}
            self._waiting.append((step, seen, removed))

    def flush(self) -> None:
        """Write what waits."""
        if not self._waiting:
            return
        with self.path.open("a", encoding="utf-8") as file:
            for step, seen, removed in self._waiting:
                positions = {agent: found.tolist() for agent, found in removed.items()}
                file.write(json.dumps({"step": step, **seen, "removed": positions}) + "\n")
        self._waiting.clear()
