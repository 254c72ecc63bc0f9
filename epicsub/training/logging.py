"""What a run leaves to read: `metrics.jsonl` (one object a line) and TensorBoard curves."""

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from epicsub.io import write_text


class RunLog:
    """Appends figures by step. Lines after `resumed_step` are of a run that was cut off, and are dropped."""

    def __init__(self, folder: Path, resumed_step: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_metrics(self.path) if line["step"] <= resumed_step]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1)

    def write(self, kind: str, step: int, figures: dict[str, float], **more: Any) -> None:
        """Add one line `{"kind": ..., "step": ..., figures...}` and a point on each figure's curve."""
        self._file.write(json.dumps({"kind": kind, "step": step, **more, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._curves.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._file.close()
        self._curves.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a `metrics.jsonl`; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]
