"""The mean of a run's last evaluations, as MMIR and MM-SADA report (MMIR section 4.2: the mean target accuracy over the
last 9, which MM-SADA's script makes 50 steps apart). It averages the noise within a run; it is no substitute for seeds.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class FinalMean:
    """Scores of the evaluations at a run's end."""

    count: int | None
    """Evaluations in the mean; None for no mean."""
    every: int
    """Steps between two of them; the last one is the run's last step."""
    seen: dict[int, dict[str, float]] = field(default_factory=dict)
    """Scores in percent by step. A checkpoint keeps them."""

    def due(self, step: int, total: int) -> bool:
        """Whether the evaluation after this step is one of them."""
        left = total - step
        return self.count is not None and left % self.every == 0 and left // self.every < self.count

    def add(self, step: int, total: int, scores: dict[str, float]) -> None:
        """Note an evaluation, if it is one of them."""
        if self.due(step, total):
            self.seen[step] = dict(scores)

    def mean(self) -> dict[str, float]:
        """Mean of each score; empty until all evaluations are made."""
        if self.count is None or len(self.seen) < self.count:
            return {}
        first = next(iter(self.seen.values()))
        return {name: sum(scores[name] for scores in self.seen.values()) / self.count for name in first}

    def told(self, protocol: str) -> dict[str, Any]:
        """What a finished checkpoint says of them; empty where there is no mean."""
        mean = self.mean()
        return {"protocol": protocol, "steps": sorted(self.seen), "scores": mean} if mean else {}
