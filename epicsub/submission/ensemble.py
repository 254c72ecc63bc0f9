"""Members to one set of predictions: rule, weights and temperatures of each head, joined on narration id.

The rules, for members k with probabilities p_k and weights w_k that sum to one:

- mean: sum_k w_k p_k(c).
- logits: softmax(sum_k w_k z_k(c)), the mean of the logits. A logit is a log-probability plus a number that is the
  same for all classes of a row, and the softmax does not see that number: files of logits and of log-probabilities
  give the same.
- geometric: prod_k p_k(c)^w_k, normalised. After the normalisation this IS the mean of the logits, so the two names
  stand for one rule here. It differs from the mean in that one member can veto: a class that one member all but
  excludes stays excluded, where in the mean it loses that member's share at most.
- rank: 1 / sum_k w_k r_k(c), normalised, where r_k(c) is the class's rank with member k (1 the highest; of equal
  classes the mean rank). Takes the order of a member and not its confidence, so temperatures have no effect.
  The mean rank gives no probabilities of its own; its inverse (Zipf) keeps its order in verbs and in nouns, and ranks
  pairs by the product of the two mean ranks.

A temperature T of a member and head takes softmax(z / T): above one less sure, below one more (Guo et al., "On
Calibration of Modern Neural Networks", 2017, section 4.2). It leaves the member's order as it is and changes how
much it has to say.

Letters: K members, N segments, C classes of a head.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from epicsub.errors import SubmissionError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions
from epicsub.text import name_some, others_than

Rule = Literal["mean", "logits", "geometric", "rank"]
RULES: tuple[str, ...] = get_args(Rule)
HEADS = ("verb", "noun")
OTHER_LIST_HINT = "Are these predictions of another list? `epicsub predict MODEL --split test` predicts the test list"
FILL_HINT = "predict the whole list with these members, or say --fill prior to put the training class prior there"


@dataclass(frozen=True)
class Head:
    """What a head makes of its members."""

    weights: tuple[float, ...]
    """of the members in order, not negative, with the sum one"""
    temperatures: tuple[float, ...]
    """of the members in order; 1 leaves a member as it is"""


@dataclass(frozen=True)
class Blend:
    """A whole ensemble: one rule, and weights and temperatures for verbs and nouns apart."""

    rule: Rule
    verb: Head
    noun: Head

    def apply(self, members: Sequence[Predictions]) -> Predictions:
        """Join members.

        Args:
            members: K predictions of the same N segments in the same order.

        Returns:
            One set of predictions of the N segments; no log-probability is below that of `PROBABILITY_FLOOR`.

        Raises:
            ValueError: the members differ in their segments.
        """
        ids = members[0].narration_ids
        if any(not np.array_equal(member.narration_ids, ids) for member in members):
            raise ValueError("the members do not hold the same segments in the same order")
        verb_NC, noun_NC = (blend_head(self.rule, tables_of(members, kind), getattr(self, kind)) for kind in HEADS)
        return Predictions(ids, floored(verb_NC), floored(noun_NC))

    def records(self, names: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
        """What the manifest keeps of each member.

        Args:
            names: of the K members.

        Returns:
            By member {"weight": {"verb", "noun"}, "temperature": {"verb", "noun"}}.
        """
        return {
            name: {
                "weight": {kind: round(getattr(self, kind).weights[k], 6) for kind in HEADS},
                "temperature": {kind: round(getattr(self, kind).temperatures[k], 6) for kind in HEADS},
            }
            for k, name in enumerate(names)
        }


def equal_blend(count: int, rule: Rule = "mean") -> Blend:
    """Weigh every member alike, at its own temperature.

    Args:
        count: number of members, K.
        rule: see above.

    Returns:
        The ensemble.
    """
    head = Head((1 / count,) * count, (1.0,) * count)
    return Blend(rule, head, head)


def tables_of(members: Sequence[Predictions], kind: str) -> list[np.ndarray]:
    """Take one head of every member.

    Args:
        members: K predictions of N segments.
        kind: verb or noun.

    Returns:
        K arrays (N, C) float32 of log-probabilities.
    """
    return [getattr(member, f"{kind}_logprobs") for member in members]


def blend_head(rule: Rule, tables: Sequence[np.ndarray], head: Head) -> np.ndarray:
    """Join the members of one head.

    Args:
        rule: see above.
        tables: K arrays (N, C) of log-probabilities.
        head: weights and temperatures.

    Returns:
        (N, C) float64 log-probabilities.
    """
    total_NC: np.ndarray = np.zeros(tables[0].shape)
    for table_NC, weight, temperature in zip(tables, head.weights, head.temperatures, strict=True):
        if weight:
            total_NC += weight * part_of(rule, table_NC, temperature)
    if rule == "mean":
        return np.asarray(np.log(np.maximum(total_NC, PROBABILITY_FLOOR)))
    if rule == "rank":
        total_NC = -np.log(-total_NC)
    return np.asarray(total_NC - logsumexp(total_NC))


def part_of(rule: Rule, table_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The term of a member: under each rule the ensemble ranks by the weighted sum of these.

    Args:
        rule: see above.
        table_NC: (N, C) log-probabilities.
        temperature: of the member and head.

    Returns:
        (N, C) float64.
    """
    if rule == "rank":
        from scipy.stats import rankdata  # takes half a second, which checking a submission need not wait for

        return np.asarray(-rankdata(-table_NC, method="average", axis=1))
    tempered_NC = tempered(table_NC, temperature)
    return np.exp(tempered_NC) if rule == "mean" else tempered_NC


def tempered(table_NC: np.ndarray, temperature: float) -> np.ndarray:
    """Apply a temperature: log softmax(z / T).

    Args:
        table_NC: (N, C) log-probabilities or logits z.
        temperature: T.

    Returns:
        (N, C) float64 log-probabilities.
    """
    scaled_NC = table_NC.astype(np.float64)
    if temperature == 1:
        return scaled_NC
    scaled_NC /= temperature
    return np.asarray(scaled_NC - logsumexp(scaled_NC))


def logsumexp(table_NC: np.ndarray) -> np.ndarray:
    """Log of the sum of exponentials of each row.

    Args:
        table_NC: (N, C).

    Returns:
        (N, 1).
    """
    top_N1 = table_NC.max(axis=1, keepdims=True)
    found: np.ndarray = top_N1 + np.log(np.exp(table_NC - top_N1).sum(axis=1, keepdims=True))
    return found


def floored(logprobs_NC: np.ndarray) -> np.ndarray:
    """Raise log-probabilities to that of `PROBABILITY_FLOOR` where they are lower.

    Args:
        logprobs_NC: (N, C).

    Returns:
        (N, C) float32.
    """
    found: np.ndarray = np.maximum(logprobs_NC, np.log(PROBABILITY_FLOOR)).astype(np.float32)
    return found


def aligned(
    members: Mapping[str, Predictions], narration_ids: Sequence[str], hint: str = FILL_HINT
) -> list[Predictions]:
    """Select the same segments of every member.

    Args:
        members: by name.
        narration_ids: the segments, in order.
        hint: ends the message where some are missing.

    Returns:
        Predictions of these segments, one per member.

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
        foreign = any(2 * len(missing) > len(narration_ids) for missing in lacking.values())
        instead = [
            f"{name}: {others.removeprefix('; ')}"
            for name in lacking
            if (others := others_than(members[name].narration_ids.tolist(), narration_ids))
        ]
        raise SubmissionError(
            "\n".join([*problems, OTHER_LIST_HINT if foreign and hint == FILL_HINT else hint, *instead])
        )
    return [member.select(narration_ids) for member in members.values()]


def missing_of(member: Predictions, narration_ids: Sequence[str]) -> list[str]:
    """List the segments that a member has no predictions for.

    Args:
        member: predictions.
        narration_ids: the segments that are needed.

    Returns:
        Those that are missing, in the order of the list.
    """
    present = set(member.narration_ids.tolist())
    return [name for name in narration_ids if name not in present]
