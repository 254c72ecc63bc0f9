"""Gains over the control, over models as clusters, and their tables: what the small benchmarks report.

Runs that share a model and its kitchens are not independent: their mean is one figure of that model, and intervals are
over models.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from arms import ARMS, CONTROL, Values
from pairs import interval

TASKS = ("action", "verb", "noun")
EXERCISED = 0.6
"""Least greedy precision under a perfect reward with which a row of agents has a gain."""

Runs = Mapping[int, Sequence[Mapping[str, Any]]]
"""Model -> its runs."""


class Gain(NamedTuple):
    """Points over another arm."""

    mean: float
    low: float
    """Of the 95 % interval (t over models)."""
    high: float
    models: int


def finished(run: Mapping[str, Any]) -> bool:
    """False for a run that diverged."""
    return "diverged" not in run


def over_models(values: Mapping[int, float]) -> Gain:
    """Mean over models, and its interval."""
    found = np.array(list(values.values()))
    mean = float(found.mean()) if len(found) else math.nan
    half = interval(found)
    return Gain(mean, mean - half, mean + half, len(found))


def gain_over(arm: Runs, control: Runs, measure: str) -> Gain:
    """Mean difference of paired runs per model, then over models; pairs in which one diverged are left out."""
    differences = {}
    for model, runs in arm.items():
        pairs = [
            run[measure] - other[measure]
            for run, other in zip(runs, control.get(model, ()), strict=False)
            if finished(run) and finished(other)
        ]
        if pairs:
            differences[model] = float(np.mean(pairs))
    return over_models(differences)


def mean_score(runs: Runs, measure: str) -> float:
    """Mean over the models of the mean of their finished runs."""
    means = [np.mean([run[measure] for run in of if finished(run)]) for of in runs.values() if any(map(finished, of))]
    return float(np.mean(means)) if means else math.nan


def figures_of(name: str, runs: Runs, control: Runs, power: float | None) -> dict[str, float]:
    """`NAME_action`, `_verb`, `_noun`, the gain in action over the control with its ends, and what diverged.

    An arm with agents that a perfect reward could not teach within its budget has no gain.

    Args:
        name: of the arm and setting.
        runs: of the arm.
        control: runs of the control.
        power: greedy precision under a perfect reward; None for arms without agents.
    """
    found = {f"{name}_{task}": mean_score(runs, task) for task in TASKS}
    lost = [run for of in runs.values() for run in of if not finished(run)]
    if lost:
        found[f"{name}_diverged"] = float(len(lost))
        last = [run["last_finite"]["action"] for run in lost if run.get("last_finite")]
        if last:
            found[f"{name}_diverged_last_finite_action"] = float(np.mean(last))
    if power is None or power >= EXERCISED:
        gain = gain_over(runs, control, "action")
        found |= {f"{name}_gain": gain.mean, f"{name}_gain_low": gain.low, f"{name}_gain_high": gain.high}
    return found


def row(name: str, figures: Mapping[str, float], power: float | None) -> str:
    """A row of the table: scores, and the gain or why there is none."""
    scores = " | ".join(f"{figures[f'{name}_{task}']:.1f}" for task in TASKS)
    if f"{name}_gain" in figures:
        ends = (figures[f"{name}_gain{end}"] for end in ("", "_low", "_high"))
        told = "{:+.2f} ({:+.2f} to {:+.2f})".format(*ends)
    else:
        told = f"not exercised (power {power:.2f})"
    lost = figures.get(f"{name}_diverged", 0.0)
    return f"{scores} | {told} | {lost:.0f}"


def report(
    chosen: Mapping[str, Values],
    runs: Mapping[str, Mapping[str, Runs]],
    powers: Mapping[str, Mapping[str, Mapping[int, float]]],
) -> dict[str, float]:
    """Print every arm at its chosen setting beside its own, and return the figures.

    Args:
        chosen: the setting that the tuning seeds chose, by arm.
        runs: arm -> "chosen" and "own" -> its runs.
        powers: arm -> the same -> greedy precision under a perfect reward, by model.

    Returns:
        Figures by name; those at the arm's own setting end their arm's name with `_own`.
    """
    controls = runs[CONTROL]
    models = len(controls["chosen"])
    print(f"\nTop-1 of the target in percent; gains are points of action over {CONTROL} at its chosen setting,")
    print(f"with 95 % intervals over {models} models (t, uncorrected). Settings: class weight / strength / rate.\n")
    print("| arm | setting | action | verb | noun | gain | diverged |\n|---|---|---|---|---|---|---|")
    figures: dict[str, float] = {}
    for key, ways in runs.items():
        for way, of in ways.items():
            name = key if way == "chosen" else f"{key}_own"
            power = None
            if key in powers:
                exercised = over_models(powers[key][way])
                power = exercised.mean
                figures[f"{name}_power"] = power
                if key == "mmir":
                    figures["power" if way == "chosen" else "power_own"] = power
                ends = f"{exercised.low:.2f} to {exercised.high:.2f}"
                print(f"| | {way} | power {power:.2f} ({ends}): a perfect reward, this budget; chance .20 | | | | |")
            figures |= figures_of(name, of, controls["chosen"], power)
            told = str(chosen[key]) if way == "chosen" else "its own"
            print(f"| {ARMS[key].title} | {told} | {row(name, figures, power)} |")
    return figures
