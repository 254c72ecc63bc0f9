"""An ensemble chosen by what the user asked for, applied to the test list, and what the manifest says of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epicsub.errors import SubmissionError
from epicsub.predictions import Predictions
from epicsub.submission.ensemble_learn import FIGURES, HOWS, How, Labelled, Learned, learn
from epicsub.submission.ensemble_pairs import STRENGTHS, Strength, choose_strength, rerank
from epicsub.submission.ensemble_rules import HEADS, RULES, Blend, Head, Rule, equal_blend, parse_weights, records


@dataclass(frozen=True)
class EnsembleOptions:
    """What the user asked for, checked by `parse_options` before anything slow."""

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
        """One set of predictions out of the members', joined on the same segments in the same order."""
        blended = self.blend.apply(members)
        return blended if log_ratio_VM is None else rerank(blended, log_ratio_VM, self.strength)

    def story(self, chosen_on: dict[str, Any] | None) -> dict[str, Any]:
        """What the manifest keeps beside each member's weights: rule, search, and what was measured on what."""
        told: dict[str, Any] = {
            "rule": self.blend.rule,
            "cooccurrence": {"strength": self.strength},
            "learned_on": chosen_on,
        }
        if self.learned:
            told["search"] = self.learned.how
            told["cross_validated"] = {
                name: {figure: value.as_json() for figure, value in getattr(self.learned, name).items()}
                for name in ("mean", "chosen", "gain")
            } | {"folds": self.learned.folds}
        if self.pairs:
            gain = {figure: value.as_json() for figure, value in self.pairs.gain.items()}
            told["cooccurrence"] |= {"best": self.pairs.best, "cross_validated_gain": gain}
        return told


def parse_options(
    rule: str, weights: str, temperature: bool, cooccurrence: str, names: Sequence[str]
) -> EnsembleOptions:
    """Read the options of an ensemble.

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
        problems.append(f"--cooccurrence {cooccurrence}: off, auto, or a strength from 0 to 1")
    if problems:
        raise SubmissionError("\n".join(problems))
    return EnsembleOptions(rule, parsed, temperature, strength)  # type: ignore[arg-type]  # both words were looked up above


def choose(options: EnsembleOptions, count: int, labelled: Labelled | None, log_ratio_VM: np.ndarray | None) -> Choice:
    """The ensemble of `count` members that was asked for; what is to be learned is learned from `labelled`."""
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


def told(choice: Choice, names: Sequence[str]) -> list[str]:
    """The choice in lines for a terminal or a log."""
    lines = []
    titles = [f"{task} top-{k}" for task, k in FIGURES]
    if learned := choice.learned:
        lines.append(f"{'percent, with 95 % intervals over videos':44}" + "".join(f"{title:>22}" for title in titles))
        for title, row in (
            ("mean of the members", learned.mean),
            (f"chosen, cross-validated in {learned.folds} folds", learned.chosen),
            ("gain over the mean", learned.gain),
        ):
            lines.append(f"{title:44}" + "".join(f"{figure!s:>22}" for figure in row.values()))
        told_gain = "a gain" if learned.gain["action@1"].gain else "not to be told from noise"
        lines.append(f"actions: {told_gain}. Searched in verbs: {learned.how['verb']}, in nouns: {learned.how['noun']}")
    for name, record in records(choice.blend, names).items():
        weights, warmth = record["weight"], record["temperature"]
        line = f"{name}: weight {weights['verb']:.3f} in verbs, {weights['noun']:.3f} in nouns"
        if any(value != 1 for value in warmth.values()):
            line += f"; temperature {warmth['verb']:.2f}, {warmth['noun']:.2f}"
        lines.append(line)
    if pairs := choice.pairs:
        state = f"on, strength {pairs.value}" if pairs.value else "off"
        lines.append(
            f"co-occurrence of verbs and nouns: {state} (of {', '.join(map(str, STRENGTHS))}, {pairs.best} has most "
            f"actions right; cross-validated gain {pairs.gain['action@1']} points)"
        )
    elif choice.strength:
        lines.append(f"co-occurrence of verbs and nouns: strength {choice.strength}, as asked for")
    return lines
