"""How members become one: rule, weights and temperatures of each head.

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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from epicsub.errors import SubmissionError
from epicsub.predictions import PROBABILITY_FLOOR, Predictions

Rule = Literal["mean", "logits", "geometric", "rank"]
RULES: tuple[str, ...] = get_args(Rule)
HEADS = ("verb", "noun")


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
        """One set of predictions out of K members that hold the same segments in the same order.

        No log-probability comes out below that of `PROBABILITY_FLOOR`, for the reason given there.
        """
        ids = members[0].narration_ids
        if any(not np.array_equal(member.narration_ids, ids) for member in members):
            raise ValueError("the members do not hold the same segments in the same order")
        verb_NC, noun_NC = (blend_head(self.rule, tables_of(members, kind), getattr(self, kind)) for kind in HEADS)
        return Predictions(ids, floored(verb_NC), floored(noun_NC))


def equal_blend(count: int, rule: Rule = "mean") -> Blend:
    """Every member alike, at its own temperature."""
    head = Head((1 / count,) * count, (1.0,) * count)
    return Blend(rule, head, head)


def tables_of(members: Sequence[Predictions], kind: str) -> list[np.ndarray]:
    """The members' log-probabilities of a head: K arrays (N, C) float32."""
    return [getattr(member, f"{kind}_logprobs") for member in members]


def blend_head(rule: Rule, tables: Sequence[np.ndarray], head: Head) -> np.ndarray:
    """Log-probabilities of one head (N, C) float64, from K tables (N, C) of log-probabilities."""
    total_NC: np.ndarray = np.zeros(tables[0].shape)
    for table_NC, weight, temperature in zip(tables, head.weights, head.temperatures, strict=True):
        if weight:
            total_NC += weight * part_of(rule, table_NC, temperature)
    if rule == "mean":
        return np.asarray(np.log(np.maximum(total_NC, PROBABILITY_FLOOR)))
    if rule == "rank":
        total_NC = -np.log(-total_NC)
    return total_NC - logsumexp(total_NC)


def part_of(rule: Rule, table_NC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """What a member adds, (N, C) float64: under each rule the ensemble's order is that of the weighted sum of these."""
    if rule == "rank":
        from scipy.stats import rankdata

        return np.asarray(-rankdata(-table_NC, method="average", axis=1))
    tempered_NC = tempered(table_NC, temperature)
    return np.exp(tempered_NC) if rule == "mean" else tempered_NC


def tempered(table_NC: np.ndarray, temperature: float) -> np.ndarray:
    """log softmax(z / T), (N, C) float64, from log-probabilities or logits z."""
    scaled_NC = table_NC.astype(np.float64)
    if temperature == 1:
        return scaled_NC
    scaled_NC /= temperature
    return scaled_NC - logsumexp(scaled_NC)


def logsumexp(table_NC: np.ndarray) -> np.ndarray:
    """log of the sum of exponentials of each row, (N, 1)."""
    top_N1 = table_NC.max(axis=1, keepdims=True)
    found: np.ndarray = top_N1 + np.log(np.exp(table_NC - top_N1).sum(axis=1, keepdims=True))
    return found


def floored(logprobs_NC: np.ndarray) -> np.ndarray:
    """float32, none below the log of `PROBABILITY_FLOOR`."""
    found: np.ndarray = np.maximum(logprobs_NC, np.log(PROBABILITY_FLOOR)).astype(np.float32)
    return found


def parse_weights(text: str, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """`0.5,0.3,0.2` for both heads, or `0.5,0.5/0.2,0.8` for verbs and nouns, by member; each made to sum to one.

    Raises:
        SubmissionError: not numbers, as many as there are members, not negative and with one above zero; all at once.
    """
    words = text.split("/")
    problems = [] if len(words) in (1, 2) else [f"{len(words)} lists, one for both heads or VERBS/NOUNS expected"]
    found = {}
    for kind, numbers in zip(HEADS, words * (2 if len(words) == 1 else 1), strict=False):
        try:
            weights = [float(number) for number in numbers.split(",")]
        except ValueError:
            problems.append(f"{numbers!r} is not numbers with commas between")
            continue
        if len(weights) != len(names):
            problems.append(f"{len(weights)} {kind} weights for {len(names)} members ({', '.join(names)})")
        elif not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
            problems.append(f"{kind} weights {numbers}: none may be negative, and one must be above zero")
        else:
            found[kind] = tuple(weight / sum(weights) for weight in weights)
    if problems:
        hint = "give numbers such as 0.5,0.3,0.2, or equal, search, greedy or likelihood"
        raise SubmissionError("\n".join([*(f"--weights {text}: {line}" for line in dict.fromkeys(problems)), hint]))
    return found


def records(blend: Blend, names: Sequence[str]) -> Mapping[str, dict[str, dict[str, float]]]:
    """By member what the manifest keeps: {"weight": {"verb", "noun"}, "temperature": {"verb", "noun"}}."""
    return {
        name: {
            "weight": {kind: round(getattr(blend, kind).weights[k], 6) for kind in HEADS},
            "temperature": {kind: round(getattr(blend, kind).temperatures[k], 6) for kind in HEADS},
        }
        for k, name in enumerate(names)
    }
