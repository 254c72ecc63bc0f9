"""The three supervision levels that a submission states (arXiv 2008.09890).

Recipes state theirs. What a recipe did shows some of it as well: random weights are pre-training 0, the training list
alone is data 3, the validation or test list, labelled or not, is 4. The higher of the two is written, and said.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from epicsub.errors import SubmissionError
from epicsub.text import name_some

_PRETRAINED = {"timm": 1, "i3d_rgb_imagenet": 2, "i3d_flow_imagenet": 2}
"""sls_pt of published weights: ImageNet; ImageNet and Kinetics. A file may be of anything: its recipe must know."""
_OPTIONS = {"pretraining": "--sls-pt", "labels": "--sls-tl", "data": "--sls-td"}
HIGHEST, SELF_SUPERVISED = 5, 3


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
        """The levels under the names of the organisers' test.json.

        Returns:
            sls_pt, sls_tl and sls_td.
        """
        return {"sls_pt": self.pretraining, "sls_tl": self.labels, "sls_td": self.data}


def combine_levels(
    members: Mapping[str, Mapping[str, int] | None], stated: Mapping[str, int | None] | None = None
) -> Levels:
    """The levels of an ensemble: of each kind the highest of its members, because it has seen what any of them has.

    Args:
        members: by name, {"pretraining", "labels", "data"} of the recipe, or None where it is not known.
        stated: what the user states, taken in place of the members' levels; it cannot be lower than these.

    Returns:
        The ensemble's levels.

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


class Derived(NamedTuple):
    """Levels of a member, and where they are higher than its recipe says."""

    levels: dict[str, int]
    notes: list[str]


def levels_of_recipe(
    recipe: Mapping[str, Any],
    training_lists: Collection[str],
    later_lists: Collection[str],
    initial: Mapping[str, Any] | None = None,
    later_videos: Collection[str] = (),
) -> Derived:
    """The levels that a recipe states, raised to those that its lists and weights show.

    Args:
        recipe: as a checkpoint keeps it.
        training_lists: lists that a model of data level 3 may have seen.
        later_lists: the validation and the test list: a model that saw one, if only without labels, is of level 4.
        initial: what its initial weights were pre-trained on, as a checkpoint keeps it; empty for others.
        later_videos: of the validation and the test list: a list of other name may hold them.

    Returns:
        The levels, and a note on each that was raised.
    """
    levels = dict(recipe["supervision"])
    notes = []
    shown = [*_shown(recipe, training_lists, later_lists), *_of_initial(initial or {}, later_lists, later_videos)]
    for name, (level, reason) in shown:
        if level > levels[name]:
            notes.append(f"supervision level {name} is {level}, not {levels[name]} as its recipe says: {reason}")
            levels[name] = level
    return Derived(levels, notes)


def _shown(
    recipe: Mapping[str, Any], training_lists: Collection[str], later_lists: Collection[str]
) -> Iterator[tuple[str, tuple[int, str]]]:
    """What lists and weights show, as far as they do: (kind, (level, why))."""
    weights = list(_leaves(recipe["model"].get("weights")))
    known = [_PRETRAINED[name] for name in weights if name in _PRETRAINED]
    if known:
        yield "pretraining", (max(known), f"it starts from {', '.join(map(str, weights))}")
    source, target = recipe["data"]["source"], recipe["data"]["target"]
    if source:
        yield "labels", (3, f"it learns the classes and times of {', '.join(source)}")
    if later := [name for name in (*source, *target) if name in later_lists]:
        yield "data", (4, f"it trains on {', '.join(later)}")
    elif any(name in training_lists for name in source):
        yield "data", (3, f"it trains on {', '.join(source)}")


def _of_initial(
    initial: Mapping[str, Any], later_lists: Collection[str], later_videos: Collection[str]
) -> Iterator[tuple[str, tuple[int, str]]]:
    """What the pre-training of the initial weights shows, whatever their file is called."""
    if not initial:
        return
    lists = ", ".join(initial["lists"])
    begun = f"its initial weights were pre-trained by {initial['pretext']}"
    yield "pretraining", (max(SELF_SUPERVISED, initial["levels"]["pretraining"]), f"{begun} on {lists}")
    yield "data", (initial["levels"]["data"], f"{begun} on {lists}")
    if later := [name for name in initial["lists"] if name in later_lists]:
        yield "data", (4, f"{begun} on {', '.join(later)}")
    elif seen := sorted(set(initial["videos"]) & set(later_videos)):
        yield "data", (4, f"{begun} on {lists}, with videos of the validation or test list: {name_some(seen, 3)}")


def _leaves(weights: Any) -> Iterator[Any]:
    if isinstance(weights, Mapping):
        for value in weights.values():
            yield from _leaves(value)
    else:
        yield weights
