"""Members to one set of predictions: the mean of their probabilities, joined on narration id.

Letters: N segments, V verbs, M nouns.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from epicsub.constants import NUM_NOUNS, NUM_VERBS
from epicsub.errors import PredictionsError, SubmissionError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions, load_predictions, name_some
from epicsub.submission.ensemble_rules import Blend, Head, floored
from epicsub.validation.tables import read_classes


def load_members(paths: Mapping[str, Path]) -> dict[str, Predictions]:
    """Read the members' files.

    Raises:
        SubmissionError: what is wrong with any of them, all at once.
    """
    members = {}
    problems = []
    for name, path in paths.items():
        try:
            members[name] = load_predictions(path)
        except PredictionsError as error:
            problems += [f"{name}: {line}" for line in str(error).splitlines()]
    if problems:
        raise SubmissionError("\n".join(problems))
    return members


def average(
    members: Mapping[str, Predictions],
    narration_ids: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Predictions:
    """The (weighted) mean of the members' probabilities, as log-probabilities.

    No log-probability comes out below that of `PROBABILITY_FLOOR`, for the reason given there. The rows are not made to
    sum to one again after that: 300 floored classes add 3e-10.

    Args:
        members: by name; each may hold more segments than are asked for, none may lack one.
        narration_ids: the segments, in the order wanted. Default: all that any member has, in order of appearance.
        weights: by member, positive; only their ratios count. Default: equal.

    Raises:
        SubmissionError: no members, members that lack segments (all of them, by name), weights that do not fit.
    """
    shares = _shares(members, weights)
    if narration_ids is None:
        narration_ids = list(
            dict.fromkeys(name for member in members.values() for name in member.narration_ids.tolist())
        )
    head = Head(tuple(shares[name] for name in members), (1.0,) * len(members))
    return Blend("mean", head, head).apply(aligned(members, narration_ids))


FILL_HINT = "predict the whole list with these members, or say --fill prior to put the training class prior there"


def aligned(
    members: Mapping[str, Predictions], narration_ids: Sequence[str], hint: str = FILL_HINT
) -> list[Predictions]:
    """The members' predictions of these segments, in this order; `hint` ends the message where some are missing.

    Raises:
        SubmissionError: members that lack segments: all of them, by name.
    """
    lacking = {name: missing_of(member, narration_ids) for name, member in members.items()}
    problems = [
        f"{name} has no predictions for {len(missing)} of {len(narration_ids)} segments: {name_some(missing)}"
        for name, missing in lacking.items()
        if missing
    ]
    if problems:
        raise SubmissionError("\n".join([*problems, hint]))
    return [member.select(narration_ids) for member in members.values()]


def fill_prior(
    members: Mapping[str, Predictions], narration_ids: Sequence[str], annotations: Path, training_list: str
) -> tuple[dict[str, Predictions], dict[str, list[str]]]:
    """Give every member that lacks segments the class frequencies of the training list for them.

    Args:
        members: by name.
        narration_ids: the segments that a submission must have.
        annotations: folder of the organisers' tables.
        training_list: file name of the labelled training list.

    Returns:
        The members, whole; and by member the ids that were filled (members that lacked none are not in it).

    Raises:
        ValidationError: no such table, or its labels are no classes.
    """
    lacking = {name: missing_of(member, narration_ids) for name, member in members.items()}
    lacking = {name: missing for name, missing in lacking.items() if missing}
    if not lacking:
        return dict(members), {}
    path = Path(annotations) / training_list
    verb_V = _log_frequencies(read_classes(path, "verb_class"), NUM_VERBS)
    noun_M = _log_frequencies(read_classes(path, "noun_class"), NUM_NOUNS)
    filled = {name: _with_rows(members[name], missing, verb_V, noun_M) for name, missing in lacking.items()}
    return {**members, **filled}, lacking


def missing_of(member: Predictions, narration_ids: Sequence[str]) -> list[str]:
    """The segments of the list that a member has no predictions for, in the list's order."""
    present = set(member.narration_ids.tolist())
    return [name for name in narration_ids if name not in present]


def _shares(members: Mapping[str, Predictions], weights: Mapping[str, float] | None) -> dict[str, float]:
    if not members:
        raise SubmissionError("an ensemble of no members; name at least one")
    if weights is None:
        return {name: 1 / len(members) for name in members}
    problems = [f"no weight for {name}" for name in members if name not in weights]
    problems += [f"a weight for {name}, which is no member" for name in weights if name not in members]
    problems += [
        f"weight of {name} is {weight}, a positive number expected"
        for name, weight in weights.items()
        if not (math.isfinite(weight) and weight > 0)
    ]
    if problems:
        raise SubmissionError("\n".join([*problems, f"members are {', '.join(members)}"]))
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _log_frequencies(classes: Sequence[int], number: int) -> np.ndarray:
    counts = np.bincount(classes, minlength=number)
    if len(counts) > number:
        raise SubmissionError(f"the training list has a class {len(counts) - 1}, {number} classes expected")
    return floored(np.log(np.maximum(counts / counts.sum(), PROBABILITY_FLOOR)))


def _with_rows(member: Predictions, names: list[str], verb_V: np.ndarray, noun_M: np.ndarray) -> Predictions:
    return Predictions(
        np.concatenate([member.narration_ids, np.array(names, dtype=np.str_)]),
        np.concatenate([member.verb_logprobs, np.tile(verb_V, (len(names), 1))]),
        np.concatenate([member.noun_logprobs, np.tile(noun_M, (len(names), 1))]),
    )
