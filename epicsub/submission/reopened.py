"""What a submission file holds, as far as it could be read, and what is wrong with it."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.predictions import name_some

KINDS = {"verb": NUM_VERBS, "noun": NUM_NOUNS}


@dataclass
class Reopened:
    """What a file holds, as far as it could be read."""

    readable: bool = False
    """whether it has entries to look at, however wrong they are"""
    ids: list[str] = field(default_factory=list)
    """as they come, duplicates and all"""
    rows: dict[str, list[tuple[str, np.ndarray]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    """verb, noun: (narration id, scores of the right length) of every well-formed row; float32 of a torch file, as
    the organisers would score it, float64 of a JSON"""
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    named: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """problem -> the segments that have it"""

    def all_problems(self) -> list[str]:
        """Problems of the file, then those of segments with the segments named."""
        return self.problems + [f"{what}: {name_some(names)}" for what, names in self.named.items()]
