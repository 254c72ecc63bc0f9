"""An ensemble chosen by the user's options, and what the manifest and the terminal show of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions
from epicsub.submission.ensemble import HEADS, RULES, Blend, Head, Rule, equal_blend
from epicsub.submission.learn import HOWS, How, Learned, learn
from epicsub.submission.pairs import STRENGTHS, Strength, choose_strength, rerank
from epicsub.submission.search import FIGURES, Labelled


@dataclass(frozen=True)
class EnsembleOptions:
    """How members are to be joined, checked by `parse_options` before anything slow."""

    rule: Rule
    weights: How | dict[str, tuple[float, ...]]
    """one of `HOWS`, or numbers by head"""
    temperature: bool
    cooccurrence: str | float
    """auto, or a strength; 0 is off"""

    @property
    def learns(self) -> bool:
        """Whether labelled segments are needed."""
        searched = isinstance(self.weights, str) and self.weights != "equal"
        return searched or self.temperature or self.cooccurrence == "auto"


@dataclass(frozen=True)
class Choice:
    """The ensemble to apply, and how it came about."""

    blend: Blend
    strength: float
    """of the co-occurrence of training's pairs; 0 is off"""
    learned: Learned | None = None
    pairs: Strength | None = None

    def apply(self, members: Sequence[Predictions], log_ratio_VM: np.ndarray | None) -> Predictions:
        """Join members.

        Args:
            members: K predictions of the same N segments in the same order.
            log_ratio_VM: (97, 300) of training's pairs; None where they do not count.

        Returns:
            One set of predictions of the N segments.
        """
        blended = self.blend.apply(members)
        return blended if log_ratio_VM is None else rerank(blended, log_ratio_VM, self.strength)

    def as_json(self, learned_on: dict[str, Any] | None) -> dict[str, Any]:
        """What the manifest keeps beside each member's weights.

        Args:
            learned_on: the labels that chose it, or None.

        Returns:
            Rule, search, and what was measured on what.
        """
        content: dict[str, Any] = {
            "rule": self.blend.rule,
            "cooccurrence": {"strength": self.strength},
            "learned_on": learned_on,
        }
        if self.learned:
            content["search"] = self.learned.how
            content["cross_validated"] = {
                name: {figure: value.as_json() for figure, value in getattr(self.learned, name).items()}
                for name in ("mean", "chosen", "gain")
            } | {"folds": self.learned.folds}
        if self.pairs:
            gain = {figure: value.as_json() for figure, value in self.pairs.gain.items()}
            content["cooccurrence"] |= {"best": self.pairs.best, "cross_validated_gain": gain}
        return content

    def report(self, names: Sequence[str]) -> list[str]:
        """The choice in lines for a terminal or a log.

        Args:
            names: of the K members.

        Returns:
            Cross-validated figures if it was learned, each member's weights, and the co-occurrence if it counts.
        """
        lines = []
        if learned := self.learned:
            titles = "".join(f"{f'{task} top-{k}':>22}" for task, k in FIGURES)
            lines.append(f"{'percent, with 95 % intervals over videos':44}{titles}")
            for title, row in (
                ("mean of the members", learned.mean),
                (f"chosen, cross-validated in {learned.folds} folds", learned.chosen),
                ("gain over the mean", learned.gain),
            ):
                lines.append(f"{title:44}" + "".join(f"{figure!s:>22}" for figure in row.values()))
            verdict = "a gain" if learned.gain["action@1"].gain else "not significant"
            searched = f"Searched in verbs: {learned.how['verb']}, in nouns: {learned.how['noun']}"
            lines.append(f"actions: {verdict}. {searched}")
        for name, record in self.blend.records(names).items():
            weights, temperatures = record["weight"], record["temperature"]
            line = f"{name}: weight {weights['verb']:.3f} in verbs, {weights['noun']:.3f} in nouns"
            if any(value != 1 for value in temperatures.values()):
                line += f"; temperature {temperatures['verb']:.2f}, {temperatures['noun']:.2f}"
            lines.append(line)
        if pairs := self.pairs:
            state = f"on, strength {pairs.value}" if pairs.value else "off"
            lines.append(
                f"co-occurrence of verbs and nouns: {state} (of {', '.join(map(str, STRENGTHS))}, {pairs.best} has "
                f"most actions right; cross-validated gain {pairs.gain['action@1']} points)"
            )
        elif self.strength:
            lines.append(f"co-occurrence of verbs and nouns: strength {self.strength}, as given")
        return lines


def parse_options(
    rule: str, weights: str, temperature: bool, cooccurrence: str, names: Sequence[str]
) -> EnsembleOptions:
    """Read the options of an ensemble as they are written on the command line.

    Args:
        rule: one of `RULES`.
        weights: one of `HOWS`, or numbers as `parse_weights` reads them.
        temperature: learn a temperature per member and head.
        cooccurrence: off, auto, or a strength from 0 to 1.
        names: of the K members.

    Returns:
        The options.

    Raises:
        SubmissionError: every option that makes no sense, all at once.
    """
    problems = []
    parsed: str | dict[str, tuple[float, ...]] = weights
    if rule not in RULES:
        problems.append(f"--rule {rule}: unknown; there are {', '.join(RULES)}")
    if weights not in HOWS:
        try:
            parsed = parse_weights(weights, names)
        except SubmissionError as error:
            problems.append(str(error))
    if rule == "rank" and temperature:
        problems.append("--temperature with --rule rank: ranks do not change with the temperature; leave one out")
    if rule == "rank" and weights == "likelihood":
        problems.append("--weights likelihood with --rule rank: ranks have no likelihood; take greedy or another rule")
    strength: str | float = "auto" if cooccurrence == "auto" else 0.0
    if cooccurrence not in ("auto", "off"):
        try:
            strength = float(cooccurrence)
        except ValueError:
            strength = float("nan")
    if not isinstance(strength, str) and not 0 <= strength <= 1:
        problems.append(f"--cooccurrence {cooccurrence}: expected off, auto, or a strength from 0 to 1")
    if problems:
        raise SubmissionError("\n".join(problems))
    return EnsembleOptions(rule, parsed, temperature, strength)  # type: ignore[arg-type]  # both words were looked up above


def choose(options: EnsembleOptions, count: int, labelled: Labelled | None, log_ratio_VM: np.ndarray | None) -> Choice:
    """Choose an ensemble.

    Args:
        options: how the members are to be joined.
        count: number of members, K.
        labelled: the members on labelled segments; needed if the options learn.
        log_ratio_VM: (97, 300) of training's pairs; needed if their co-occurrence counts.

    Returns:
        The ensemble to apply.

    Raises:
        SubmissionError: the labelled segments are all of one video.
    """
    if not options.learns or labelled is None:
        strength = 0.0 if isinstance(options.cooccurrence, str) else options.cooccurrence
        if isinstance(options.weights, str):
            return Choice(equal_blend(count, options.rule), strength)
        verb, noun = (Head(options.weights[kind], (1.0,) * count) for kind in HEADS)
        return Choice(Blend(options.rule, verb, noun), strength)
    learned = learn(labelled, options.rule, options.weights, options.temperature)
    if options.cooccurrence != "auto" or log_ratio_VM is None:
        return Choice(learned.blend, 0.0 if isinstance(options.cooccurrence, str) else options.cooccurrence, learned)
    pairs = choose_strength(labelled, learned.out_of_fold, log_ratio_VM)
    return Choice(learned.blend, pairs.value, learned, pairs)


def parse_weights(text: str, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """`0.5,0.3,0.2` for both heads, or `0.5,0.5/0.2,0.8` for verbs and nouns, by member; each made to sum to one.

    Args:
        text: as on the command line.
        names: of the K members.

    Returns:
        (K,) weights by head.

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
