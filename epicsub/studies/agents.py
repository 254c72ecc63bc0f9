"""What the agents of a run took out of its batches, and what became of their rewards and values."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicsub.errors import TrainingError
from epicsub.io import write_text

COLUMNS = ("agent", "narration_id", "domain", "seen", "removed", "share")


class Count(NamedTuple):
    """How often an agent met a segment and took it out."""

    agent: str
    narration_id: str
    domain: str
    seen: int
    removed: int

    @property
    def share(self) -> float:
        """Share of its meetings in which it was taken out."""
        return self.removed / self.seen


def read_removals(path: Path) -> list[dict[str, Any]]:
    """Lines of a run's `removed.jsonl`; a last one that a kill cut short is left out.

    Raises:
        TrainingError: there is none: the run has no agents, has not adapted yet, or is of an older epicsub.
    """
    if not path.is_file():
        raise TrainingError(
            f"{path}: no such file. A run writes it where agents take instances out (adaptation.method mmir and its "
            "controls, from its first stage with a target_batch on); older versions of epicsub write none"
        )
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def counts_of(lines: Sequence[Mapping[str, Any]]) -> list[Count]:
    """Every agent and segment that met, the most often removed first, then by share and name."""
    seen: Counter[tuple[str, str, str]] = Counter()
    removed: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        for agent, positions in line["removed"].items():
            domain = agent.rpartition("_")[2]
            batch = line[domain]
            seen.update((agent, name, domain) for name in batch)
            removed.update((agent, batch[position], domain) for position in positions)
    found = [Count(*key, seen=met, removed=removed[key]) for key, met in seen.items()]
    return sorted(found, key=lambda c: (c.agent, -c.removed, -c.share, c.narration_id))


def write_counts(counts: Sequence[Count], path: Path) -> None:
    """Write them as CSV; share to four decimals."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows([*count, f"{count.share:.4f}"] for count in counts)
    write_text(path, text.getvalue())


def most_removed(counts: Sequence[Count], clips: int) -> dict[str, list[Count]]:
    """The segments that each agent took out most often, at most so many, none that it never took."""
    agents = dict.fromkeys(count.agent for count in counts)
    return {agent: [c for c in counts if c.agent == agent and c.removed][:clips] for agent in agents}
