"""The three supervision levels that a submission states: github.com/epic-kitchens/sls."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from epicsub.errors import SubmissionError

_OPTIONS = {"pretraining": "--sls-pt", "labels": "--sls-tl", "data": "--sls-td"}
HIGHEST = 5


@dataclass(frozen=True)
class Levels:
    """0 is the least supervision, 5 the most.

    Raises:
        SubmissionError: a level that is no whole number from 0 to 5; all at once.
    """

    pretraining: int
    """sls_pt: 0 none, 1 public images, 2 public images and videos, 3 and 4 self-supervised, 5 private data"""
    labels: int
    """sls_tl: 0 none, 3 segment times and classes, 5 knowledge beyond the labels"""
    data: int
    """sls_td: 0 none, 3 the training list, 4 training and validation list, 5 more"""

    def __post_init__(self) -> None:
        wrong = [
            f"supervision level {name} is {value!r}, a whole number from 0 to {HIGHEST} expected"
            for name, value in asdict(self).items()
            if type(value) is not int or not 0 <= value <= HIGHEST
        ]
        if wrong:
            raise SubmissionError("\n".join(wrong))

    def as_json(self) -> dict[str, int]:
        """Under the names of the organisers' test.json."""
        return {"sls_pt": self.pretraining, "sls_tl": self.labels, "sls_td": self.data}


def combine_levels(
    members: Mapping[str, Mapping[str, int] | None], stated: Mapping[str, int | None] | None = None
) -> Levels:
    """The levels of an ensemble: of each kind the highest of its members, because it has seen what any of them has.

    Args:
        members: by name, {"pretraining", "labels", "data"} of the recipe, or None where it is not known.
        stated: what the user states, taken in place of the members' levels; it cannot be lower than these.

    Raises:
        SubmissionError: a level that no one states for a member, or one stated lower than a member's; all at once.
    """
    chosen = {name: level for name, level in (stated or {}).items() if level is not None}
    problems = []
    levels = {}
    for name, option in _OPTIONS.items():
        known = {member: given[name] for member, given in members.items() if given is not None}
        unknown = [member for member, given in members.items() if given is None]
        if name in chosen:
            levels[name] = chosen[name]
            problems += [
                f"{option} {chosen[name]} is lower than the {level} of {member}; state {level} or more"
                for member, level in known.items()
                if level > chosen[name]
            ]
        elif unknown or not known:
            who = ", ".join(unknown) or "no member"
            problems.append(
                f"supervision level {name} is not known for {who}: a file does not say it; give {option} 0-5"
            )
        else:
            levels[name] = max(known.values())
    if problems:
        raise SubmissionError("\n".join(problems))
    return Levels(**levels)
